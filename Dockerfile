# Two stages: the first installs from the hashed lock, the second has no compiler, no pip cache and no root.
FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements/run.txt requirements/run.txt
RUN python -m venv /opt/neonmeter \
 && /opt/neonmeter/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY . .
RUN /opt/neonmeter/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && mkdir /var/lib/neonmeter

FROM python:3.12-slim
COPY --from=build /opt/neonmeter /opt/neonmeter
COPY --from=build --chown=65532:65532 /var/lib/neonmeter /var/lib/neonmeter
USER 65532:65532
WORKDIR /var/lib/neonmeter
# The ledger outlives the container in this volume. Neon forgets hourly consumption after 168 hours; the ledger does not.
VOLUME /var/lib/neonmeter
ENV NEONMETER_HTTP__LISTEN=0.0.0.0:9719 NEONMETER_STORAGE__PATH=/var/lib/neonmeter/neonmeter.db PYTHONUNBUFFERED=1
EXPOSE 9719
# Exec form throughout: no shell is needed.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["/opt/neonmeter/bin/neonmeter", "healthcheck"]
ENTRYPOINT ["/opt/neonmeter/bin/neonmeter"]
CMD ["run"]
