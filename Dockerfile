# docker build -t ser . && docker run --gpus all --shm-size 8g -v "$PWD/input:/ser/input" -v "$PWD/outputs:/ser/outputs" \
#     -v "$PWD/submissions:/ser/submissions" ser bash train.sh configs/wav2vec2_base.yaml
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends ffmpeg git && rm -rf /var/lib/apt/lists/*
WORKDIR /ser
COPY requirements.lock requirements.txt ./
RUN pip install --no-cache-dir --no-compile -r requirements.lock
COPY . .
# The packages are there: from now on train.sh finds nothing to install.
ENV SER_ENV=active
RUN bash -c 'source ./setup_env.sh && prepare_environment requirements.txt'
CMD ["bash", "train.sh"]
