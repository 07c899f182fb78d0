"""How people log in and manage their accounts, on top of django-allauth."""
