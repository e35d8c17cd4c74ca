// The server under test and its client: see server_fixture.h.
#include "tests/e2e/server/server_fixture.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <random>
#include <span>
#include <thread>

#include "absl/crc/crc32c.h"
#include "core/base/sha256.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/config/server_config.h"

namespace modelpress::testing {
namespace {

constexpr size_t kChunk = 256 << 10;

uint32_t Crc(const std::string& bytes) { return static_cast<uint32_t>(absl::ComputeCrc32c(bytes)); }

class FakeJob final : public RunningJob {
 public:
  FakeJob(v1::WorkerRequest request, std::shared_ptr<Gate> gate)
      : request_(std::move(request)), gate_(std::move(gate)) {}

  v1::JobOutcome Wait(const std::function<void(const v1::Progress&)>& progress) override {
    v1::JobOutcome outcome;
    const uint64_t behaviour = request_.recipe().seed();
    for (const char* phase : {"read", "write"}) {
      v1::Progress step;
      step.set_phase(phase);
      progress(step);
    }
    while (!cancelled_ &&
           (behaviour == kUntilCancelled || (behaviour == kUntilGate && !gate_->open))) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    if (cancelled_ || behaviour == kFail) {
      outcome.mutable_error()->set_reason(cancelled_ ? ERROR_REASON_JOB_CANCELLED
                                                     : ERROR_REASON_MODEL_MALFORMED);
      return outcome;
    }
    const std::string path = request_.output_folder() + "/" + request_.output_name();
    std::filesystem::copy_file(request_.model().path(), path);
    v1::ArtifactFile& file = *outcome.add_files();
    file.set_name(request_.output_name());
    file.set_size_bytes(std::filesystem::file_size(path));
    file.set_sha256(request_.model().sha256());
    return outcome;
  }
  void Cancel() override { cancelled_ = true; }

 private:
  const v1::WorkerRequest request_;
  const std::shared_ptr<Gate> gate_;
  std::atomic<bool> cancelled_ = false;
};

class FakeRunner final : public JobRunner {
 public:
  explicit FakeRunner(std::shared_ptr<Gate> gate) : gate_(std::move(gate)) {}
  absl::StatusOr<std::unique_ptr<RunningJob>> Start(const v1::WorkerRequest& request) override {
    return std::make_unique<FakeJob>(request, gate_);
  }

 private:
  std::shared_ptr<Gate> gate_;
};

CoreFunctions FakeCore() {
  CoreFunctions core;
  core.validate_recipe = [](const v1::Recipe& recipe) -> absl::Status {
    if (recipe.seed() == kInvalidRecipe)
      return Error(ERROR_REASON_RECIPE_INVALID, "bad").With("field", "seed");
    return absl::OkStatus();
  };
  core.make_plan = [](uint64_t model_bytes, uint64_t, const v1::Recipe& recipe) {
    v1::Plan plan;
    plan.set_memory_bytes(recipe.seed() == kHuge ? 1ull << 60 : 1 << 20);
    plan.set_scratch_bytes(model_bytes);
    return plan;
  };
  core.capabilities.set_version("9.9.9");
  core.capabilities.add_passes()->set_name("quantize_weights");
  return core;
}

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status rich;
  EXPECT_TRUE(rich.ParseFromString(status.error_details()));
  return rich;
}

}  // namespace

void Stream::SendStart(const std::string& request_id, const std::vector<std::string>& blobs,
                       uint64_t behaviour, bool validate_only) {
  v1::RunJobRequest request;
  v1::StartJob& start = *request.mutable_start();
  start.set_request_id(request_id);
  start.set_validate_only(validate_only);
  start.mutable_spec()->mutable_recipe()->set_seed(behaviour);
  for (size_t i = 0; i < blobs.size(); ++i) {
    v1::Blob& blob = *start.add_blobs();
    blob.set_blob_id(static_cast<uint32_t>(i + 1));
    blob.set_role(i == 0 ? v1::Blob::ROLE_MODEL : v1::Blob::ROLE_SIDECAR);
    blob.set_name(i == 0 ? "model.onnx" : "side" + std::to_string(i));
    blob.set_size_bytes(blobs[i].size());
  }
  Send(request);
}

void Stream::SendResume(const std::string& job_id, uint64_t after_sequence,
                        std::vector<uint64_t> offsets) {
  v1::RunJobRequest request;
  request.mutable_resume()->set_job_id(job_id);
  request.mutable_resume()->set_after_sequence(after_sequence);
  for (uint64_t offset : offsets) request.mutable_resume()->add_artifact_offsets(offset);
  last_sequence = after_sequence;
  Send(request);
}

void Stream::SendChunk(uint32_t blob_id, uint64_t offset, const std::string& data, bool corrupt) {
  v1::RunJobRequest request;
  v1::Chunk& chunk = *request.mutable_chunk();
  chunk.set_blob_id(blob_id);
  chunk.set_offset(offset);
  chunk.set_data(data);
  chunk.set_crc32c(Crc(data) ^ (corrupt ? 1 : 0));
  Send(request);
}

void Stream::SendBlob(uint32_t blob_id, const std::string& bytes, size_t from, size_t to) {
  to = std::min(to, bytes.size());
  for (size_t offset = from; offset < to; offset += kChunk) {
    SendChunk(blob_id, offset, bytes.substr(offset, std::min(kChunk, to - offset)));
  }
}

void Stream::SendFinish(const std::vector<std::string>& blobs) {
  v1::RunJobRequest request;
  request.mutable_finish_upload();
  for (const std::string& blob : blobs) {
    request.mutable_finish_upload()->add_sha256(Sha256Hex(std::as_bytes(std::span(blob))));
  }
  Send(request);
}

void Stream::SendRelease() {
  v1::RunJobRequest request;
  request.mutable_release();
  Send(request);
}

v1::JobAccepted Stream::ReadAccepted() {
  v1::RunJobResponse response;
  EXPECT_TRUE(stream_->Read(&response));
  EXPECT_TRUE(response.has_accepted()) << response.ShortDebugString();
  return response.accepted();
}

v1::JobEvent Stream::ReadEvent() {
  v1::RunJobResponse response;
  while (stream_->Read(&response)) {
    if (!response.has_event()) continue;
    EXPECT_EQ(response.event().sequence(), last_sequence + 1);
    last_sequence = response.event().sequence();
    return response.event();
  }
  ADD_FAILURE() << "the stream ended before an event";
  return {};
}

v1::JobResult Stream::ReadResult() {
  while (true) {
    const v1::JobEvent event = ReadEvent();
    if (event.sequence() == 0 || event.has_result()) return event.result();
  }
}

std::string Stream::ReadArtifact(uint64_t offset, uint64_t size) {
  std::string bytes;
  v1::RunJobResponse response;
  while (bytes.size() < size && stream_->Read(&response)) {
    const v1::Chunk& chunk = response.artifact_chunk();
    EXPECT_EQ(chunk.blob_id(), 1u);
    EXPECT_EQ(chunk.offset(), offset + bytes.size());
    EXPECT_EQ(chunk.crc32c(), Crc(chunk.data()));
    bytes += chunk.data();
  }
  EXPECT_EQ(bytes.size(), size);
  return bytes;
}

grpc::Status Stream::Finish() {
  stream_->WritesDone();
  return WaitForEnd();
}

grpc::Status Stream::WaitForEnd() {
  v1::RunJobResponse response;
  while (stream_->Read(&response)) {
  }
  return stream_->Finish();
}

std::string ReasonOfRpc(const grpc::Status& status) {
  google::rpc::ErrorInfo info;
  const google::rpc::Status rich = Details(status);
  for (const auto& detail : rich.details()) {
    if (detail.UnpackTo(&info)) return info.reason();
  }
  return "";
}

bool HasRetryInfo(const grpc::Status& status) {
  google::rpc::RetryInfo info;
  const google::rpc::Status rich = Details(status);
  for (const auto& detail : rich.details()) {
    if (detail.UnpackTo(&info)) return true;
  }
  return false;
}

std::string RandomBytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

v1::ServerConfig ServerTest::DefaultConfig() {
  v1::ServerConfig config;
  config.set_listen("127.0.0.1:0");
  config.set_metrics("127.0.0.1:0");
  config.set_workers(1);
  config.set_max_queued_jobs(2);
  config.set_drain_delay_seconds(0);
  return config;
}

ServerTest::ServerTest() : scratch_(*Scratch::Temporary(0)) { Restart(DefaultConfig()); }

void ServerTest::Restart(const v1::ServerConfig& given) {
  server_.reset();
  v1::ServerConfig config = given;
  config.set_scratch(scratch_->folder() + "/server");
  FillDefaults(DescribeMachine(config.scratch()), &config);
  ASSERT_TRUE(ValidateConfig(config).ok());
  auto server = Server::Start(config, FakeCore(), std::make_unique<FakeRunner>(gate_));
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  channel_ = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()),
                                       grpc::InsecureChannelCredentials(), arguments);
  stub_ = v1::JobService::NewStub(channel_);
}

void ServerTest::TearDown() {
  if (server_ == nullptr) return;
  // What a test left behind is ended here; then nothing may be alive.
  v1::ListJobsResponse jobs;
  grpc::ClientContext list_context;
  stub_->ListJobs(&list_context, {}, &jobs);
  for (const v1::Job& job : jobs.jobs()) {
    v1::CancelJobRequest request;
    request.set_job_id(job.job_id());
    v1::Job ended;
    grpc::ClientContext context;
    stub_->CancelJob(&context, request, &ended);
    WaitForState(job.job_id(), v1::Job::STATE_UNSPECIFIED);
    Stream stream(*stub_);
    stream.SendResume(job.job_id(), job.last_sequence());
    stream.SendRelease();
    stream.Finish();
  }
  const auto left = [this] {
    const JobTableStats stats = server_->Stats();
    return server_->open_streams() + stats.uploading + stats.queued + stats.running +
           stats.finished + stats.memory_in_use + stats.scratch_in_use +
           !std::filesystem::is_empty(scratch_->folder() + "/server");
  };
  for (int i = 0; i < 500 && left() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(left(), 0u);
}

// STATE_UNSPECIFIED: any end.
v1::Job ServerTest::WaitForState(const std::string& job_id, v1::Job::State state) {
  v1::Job job;
  for (int i = 0; i < 2000; ++i) {
    v1::GetJobRequest request;
    request.set_job_id(job_id);
    grpc::ClientContext context;
    const grpc::Status status = stub_->GetJob(&context, request, &job);
    EXPECT_TRUE(status.ok()) << status.error_message();
    if (!status.ok() || job.state() == state) return job;
    if (state == v1::Job::STATE_UNSPECIFIED && job.state() >= v1::Job::STATE_SUCCEEDED) return job;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ADD_FAILURE() << "the job stays " << v1::Job::State_Name(job.state());
  return job;
}

std::string ServerTest::Scrape() {
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(server_->metrics_port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(write(connection, request.data(), request.size()),
            static_cast<ssize_t>(request.size()));
  std::string text;
  char buffer[4096];
  for (ssize_t count; (count = read(connection, buffer, sizeof(buffer))) > 0;)
    text.append(buffer, static_cast<size_t>(count));
  close(connection);
  const size_t body = text.find("\r\n\r\n");
  return body == std::string::npos ? "" : text.substr(body + 4);
}

}  // namespace modelpress::testing
