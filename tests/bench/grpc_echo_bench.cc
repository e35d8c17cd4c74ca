// The yardstick of remote jobs: what gRPC alone takes to move the same bytes between two processes on loopback.
//
//   grpc_echo_bench UPLOAD_BYTES ARTIFACT_BYTES CHUNK_BYTES
//
// The client streams UPLOAD_BYTES in Chunk messages to a server that only counts them, then the server streams
// ARTIFACT_BYTES back. Same messages, chunk size and callback API as modelpressd; no disk, no checksum, no digest. Prints
// the wall time and the rate.
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "modelpress/v1/service.grpc.pb.h"

namespace {

namespace v1 = modelpress::v1;

struct Sizes {
  uint64_t upload = 0;
  uint64_t artifact = 0;
  uint64_t chunk = 0;
};

class CountingReactor final
    : public grpc::ServerBidiReactor<v1::RunJobRequest, v1::RunJobResponse> {
 public:
  explicit CountingReactor(const Sizes& sizes) : sizes_(sizes) { StartRead(&request_); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    received_ += request_.chunk().data().size();
    if (received_ < sizes_.upload) {
      StartRead(&request_);
    } else {
      OnWriteDone(true);
    }
  }
  void OnWriteDone(bool ok) override {
    if (!ok || sent_ == sizes_.artifact) {
      Finish(ok ? grpc::Status::OK : grpc::Status::CANCELLED);
      return;
    }
    const uint64_t bytes = std::min(sizes_.chunk, sizes_.artifact - sent_);
    response_.mutable_artifact_chunk()->mutable_data()->resize(bytes);
    sent_ += bytes;
    StartWrite(&response_);
  }
  void OnDone() override { delete this; }

 private:
  const Sizes sizes_;
  v1::RunJobRequest request_;
  v1::RunJobResponse response_;
  uint64_t received_ = 0;
  uint64_t sent_ = 0;
};

class CountingService final : public v1::JobService::CallbackService {
 public:
  explicit CountingService(const Sizes& sizes) : sizes_(sizes) {}
  grpc::ServerBidiReactor<v1::RunJobRequest, v1::RunJobResponse>* RunJob(
      grpc::CallbackServerContext*) override {
    return new CountingReactor(sizes_);
  }

 private:
  const Sizes sizes_;
};

// The server's process: tells its port through the pipe, then serves until it is killed.
[[noreturn]] void Serve(const Sizes& sizes, int port_pipe) {
  CountingService service(sizes);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (write(port_pipe, &port, sizeof(port)) != sizeof(port)) _exit(1);
  server->Wait();
  _exit(0);
}

bool Transfer(const Sizes& sizes, int port) {
  const auto stub = v1::JobService::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto stream = stub->RunJob(&context);
  v1::RunJobRequest request;
  for (uint64_t sent = 0; sent < sizes.upload;) {
    const uint64_t bytes = std::min(sizes.chunk, sizes.upload - sent);
    request.mutable_chunk()->mutable_data()->resize(bytes, 'x');
    if (!stream->Write(request)) return false;
    sent += bytes;
  }
  stream->WritesDone();
  uint64_t received = 0;
  v1::RunJobResponse response;
  while (stream->Read(&response)) received += response.artifact_chunk().data().size();
  return stream->Finish().ok() && received == sizes.artifact;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: grpc_echo_bench UPLOAD_BYTES ARTIFACT_BYTES CHUNK_BYTES\n");
    return 2;
  }
  const Sizes sizes = {strtoull(argv[1], nullptr, 10), strtoull(argv[2], nullptr, 10),
                       strtoull(argv[3], nullptr, 10)};
  if (sizes.upload == 0 || sizes.chunk == 0) {
    fprintf(stderr, "sizes must be positive\n");
    return 2;
  }
  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) return 1;
  const pid_t server = fork();  // before gRPC has any thread
  if (server == 0) Serve(sizes, pipe_ends[1]);
  close(pipe_ends[1]);
  int port = 0;
  if (read(pipe_ends[0], &port, sizeof(port)) != sizeof(port)) return 1;
  const auto start = std::chrono::steady_clock::now();
  const bool moved = Transfer(sizes, port);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  if (!moved) {
    fprintf(stderr, "the transfer broke\n");
    return 1;
  }
  const double mebibytes = static_cast<double>(sizes.upload + sizes.artifact) / (1 << 20);
  printf("%.3f s, %.0f MiB/s\n", seconds, mebibytes / seconds);
  return 0;
}
