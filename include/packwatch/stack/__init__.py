"""The stack on one machine: Postgres, S3 and Airflow as processes of their own, with nothing to install.

control.py      start_stack, running_stack, stop_stack, clean_stack
supervisor.py   the process that starts and ends the servers
postgres.py     PostgreSQL 18 from a wheel
s3.py           moto's S3, made durable by s3_server.py and objectstore.py
airflow.py      environment and components of Airflow; component.py starts one of them
processes.py    child processes and ports
state.py        the state folder
"""
