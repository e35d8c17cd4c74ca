// Health, capabilities, metrics, and the way out.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <thread>

#include "server/config/server_config.h"
#include "tests/e2e/server/server_fixture.h"

namespace modelpress::testing {
namespace {

class LifecycleTest : public ServerTest {
 protected:
  // grpc.health.v1.Health/Check by hand: field 1 of the request is the name, field 1 of the response the status.
  // 1: serving, 2: not serving, -1: unknown name.
  int Health(const std::string& service) {
    grpc::GenericStub stub(channel_);
    const std::string bytes = std::string("\x0a") + static_cast<char>(service.size()) + service;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, this);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    if (!status.ok()) return -1;
    grpc::Slice answer;
    EXPECT_TRUE(response.DumpToSingleSlice(&answer).ok());
    return answer.size() == 2 ? answer.begin()[1] : 0;
  }
};

TEST_F(LifecycleTest, CapabilitiesTellLimitsAndInstance) {
  grpc::ClientContext context;
  v1::Capabilities capabilities;
  ASSERT_TRUE(stub_->GetCapabilities(&context, {}, &capabilities).ok());
  EXPECT_EQ(capabilities.version(), "9.9.9");
  EXPECT_EQ(capabilities.instance(), "127.0.0.1:" + std::to_string(server_->port()));
  EXPECT_EQ(capabilities.limits().preferred_chunk_bytes(), 256u << 10);
  EXPECT_EQ(capabilities.limits().workers(), 1u);
}

TEST_F(LifecycleTest, DrainFinishesWhatRunsAndRefusesWhatIsNew) {
  for (const char* name : {"", "readiness", "liveness"}) EXPECT_EQ(Health(name), 1) << name;
  EXPECT_EQ(Health("nonsense"), -1);
  Stream stream(*stub_);
  stream.SendStart("running", {"model"}, kUntilGate);
  const std::string job_id = stream.ReadAccepted().job().job_id();
  stream.SendBlob(1, "model");
  stream.SendFinish({"model"});
  WaitForState(job_id, v1::Job::STATE_RUNNING);

  std::thread drain([this] { server_->Drain(); });
  for (int i = 0; i < 200 && Health("readiness") == 1; ++i) usleep(5000);
  EXPECT_EQ(Health("readiness"), 2);
  EXPECT_EQ(Health(""), 2);
  EXPECT_EQ(Health("liveness"), 1);
  grpc::Status status;
  for (int i = 0; i < 200 && status.ok(); ++i) {
    Stream refused(*stub_);
    refused.SendStart("new", {"model"}, kCopy, /*validate_only=*/true);
    status = refused.Finish();
  }
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOfRpc(status), "DRAINING");
  EXPECT_TRUE(HasRetryInfo(status));

  gate_->open = true;
  EXPECT_EQ(stream.ReadResult().status().code(), 0);
  EXPECT_EQ(stream.ReadArtifact(0, 5), "model");
  stream.SendRelease();
  EXPECT_TRUE(stream.Finish().ok());
  drain.join();
}

TEST_F(LifecycleTest, DrainEndsWhatDoesNotFinishInTime) {
  v1::ServerConfig config = DefaultConfig();
  config.set_drain_seconds(0.2);
  Restart(config);
  Stream stream(*stub_);
  stream.SendStart("endless", {"model"}, kUntilCancelled);
  const std::string job_id = stream.ReadAccepted().job().job_id();
  stream.SendBlob(1, "model");
  stream.SendFinish({"model"});
  WaitForState(job_id, v1::Job::STATE_RUNNING);
  std::thread client([&] {
    EXPECT_EQ(stream.ReadResult().status().code(), grpc::UNAVAILABLE);
    EXPECT_TRUE(stream.Finish().ok());
  });
  const auto start = std::chrono::steady_clock::now();
  server_->Drain();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  client.join();
}

// Open streams of every kind must not keep the server from stopping.
TEST_F(LifecycleTest, StopsWithStreamsOpen) {
  Stream silent(*stub_);
  Stream uploading(*stub_);
  uploading.SendStart("uploading", {"model"});
  uploading.ReadAccepted();
  Stream running(*stub_);
  running.SendStart("running", {"model"}, kUntilCancelled);
  const std::string job_id = running.ReadAccepted().job().job_id();
  running.SendBlob(1, "model");
  running.SendFinish({"model"});
  WaitForState(job_id, v1::Job::STATE_RUNNING);
  const auto start = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  for (Stream* stream : {&silent, &uploading, &running}) stream->WaitForEnd();
}

TEST_F(LifecycleTest, MetricsAreThereFromTheStartAndCount) {
  const std::string fresh = Scrape();
  for (const char* line :
       {"modelpress_jobs_started_total 0",
        "modelpress_jobs_rejected_total{reason=\"QUEUE_FULL\"} 0",
        "modelpress_jobs_completed_total{outcome=\"failed\",reason=\"WORKER_CRASHED\"} 0",
        "modelpress_jobs{state=\"queued\"} 0", "modelpress_draining 0", "modelpress_workers 1",
        "modelpress_pass_applied_total{pass=\"quantize_weights\"} 0", "process_open_fds "}) {
    EXPECT_THAT(fresh, ::testing::HasSubstr(line));
  }
  Stream stream(*stub_);
  stream.SendStart("metrics", {"model"});
  stream.ReadAccepted();
  stream.SendBlob(1, "model");
  stream.SendFinish({"model"});
  stream.ReadResult();
  stream.ReadArtifact(0, 5);
  stream.SendRelease();
  EXPECT_TRUE(stream.Finish().ok());
  for (int i = 0; i < 200 && server_->open_streams() > 0; ++i) usleep(5000);
  const std::string text = Scrape();
  for (const char* line : {"modelpress_jobs_started_total 1",
                           "modelpress_jobs_completed_total{outcome=\"succeeded\",reason=\"\"} 1",
                           "modelpress_transfer_bytes_total{direction=\"in\"} 5",
                           "modelpress_transfer_bytes_total{direction=\"out\"} 5"}) {
    EXPECT_THAT(text, ::testing::HasSubstr(line));
  }
  EXPECT_THAT(text, ::testing::ContainsRegex("grpc_server_handled_total\\{[^}]*grpc_code=\"OK\"[^}]"
                                             "*grpc_method=\"RunJob\"[^}]*\\} 1"));

  const std::string file = scratch_->folder() + "/metrics.txt";
  std::ofstream(file) << text;
  const std::string command = "promtool check metrics < " + file + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string complaints;
  char buffer[4096];
  while (fgets(buffer, sizeof(buffer), pipe) != nullptr) complaints += buffer;
  EXPECT_EQ(pclose(pipe), 0) << complaints;
  EXPECT_EQ(complaints, "");
}

TEST_F(LifecycleTest, ATakenPortIsAnErrorNotACrash) {
  v1::ServerConfig config = DefaultConfig();
  for (bool metrics : {false, true}) {
    config = DefaultConfig();
    if (metrics) config.set_metrics("127.0.0.1:" + std::to_string(server_->metrics_port()));
    if (!metrics) config.set_listen("127.0.0.1:" + std::to_string(server_->port()));
    config.set_scratch(scratch_->folder() + "/second");
    FillDefaults(DescribeMachine(config.scratch()), &config);
    const auto second = Server::Start(config, CoreFunctions(), nullptr);
    EXPECT_EQ(ReasonOf(second.status()), ERROR_REASON_REQUEST_INVALID);
    EXPECT_EQ(DetailOf(second.status()).metadata().at("field"), metrics ? "metrics" : "listen");
  }
}

}  // namespace
}  // namespace modelpress::testing
