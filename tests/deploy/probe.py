#!/usr/bin/env python3
"""probe.py HOST:PORT SERVICE [--wait SECONDS]: what Kubernetes' gRPC probe asks; exit code 0 if the service serves.

grpc.health.v1 by hand, for want of its generated code: HealthCheckRequest{service = 1}, HealthCheckResponse{status = 1}.
"""
import argparse
import sys
import time

import grpc

parser = argparse.ArgumentParser()
parser.add_argument("address")
parser.add_argument("service")
parser.add_argument("--wait", type=float, default=0)
arguments = parser.parse_args()

name = arguments.service.encode()
deadline = time.monotonic() + arguments.wait
with grpc.insecure_channel(arguments.address) as channel:
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    while True:
        try:
            answer = check(bytes([0x0A, len(name)]) + name, timeout=2)
        except grpc.RpcError as error:
            answer = f"{error.code().name}: {error.details()}"
        if answer == b"\x08\x01":  # SERVING
            sys.exit(0)
        if time.monotonic() >= deadline:
            sys.exit(f"{arguments.address} {arguments.service}: {answer}")
        time.sleep(0.2)
