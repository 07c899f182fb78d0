"""How gunicorn serves AVESA; it reads this file when it starts in this folder.

Options of the command line win: gunicorn avesa_site.wsgi --workers 4
"""

worker_class = "avesa_site.web.Worker"
workers = 2  # processes; about one per core
threads = 16  # in each process, to compute pages; most wait for the warehouse
graceful_timeout = 10
control_socket_disable = True  # a socket for commands that nothing here uses
