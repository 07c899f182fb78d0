from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='apitoken',
            options={
                'ordering': ['tenant', 'name'],
                'permissions': [
                    ('issue_any_apitoken', 'Can issue API tokens for any tenant')
                ],
                'verbose_name': 'API token',
            },
        ),
    ]
