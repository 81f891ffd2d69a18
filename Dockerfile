# medrega as a container: docs/container.md. `python -m tools.container_steps` tries these steps without Docker.
FROM python:3.11-slim AS build
# codecs (compressed DICOM) is left out: one of its decoders is under the GPL. --build-arg EXTRAS=serve,dicom,nifti,codecs adds it.
ARG EXTRAS=serve,dicom,nifti
WORKDIR /src
COPY . /src
RUN python -m venv /opt/medrega \
    && /opt/medrega/bin/pip install --no-cache-dir --quiet ".[${EXTRAS}]" \
    && cp tools/healthcheck.py /opt/medrega/healthcheck.py

FROM python:3.11-slim
COPY --from=build /opt/medrega /opt/medrega
# The image writes nothing, so it runs with a read-only root and as any user; HOME is where nobody's settings are.
ENV PATH=/opt/medrega/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 HOME=/nonexistent LANG=C.UTF-8
USER 10001:10001
EXPOSE 8484
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "/opt/medrega/healthcheck.py"]
ENTRYPOINT ["medrega"]
# On another address than the container's own the server wants a token and TLS: mount token, cert.pem and key.pem there.
CMD ["serve", "--host", "0.0.0.0", "--name", "localhost", "--name", "127.0.0.1", "--token-file", "/run/secrets/token", "--tls-cert", "/run/secrets/cert.pem", "--tls-key", "/run/secrets/key.pem"]
