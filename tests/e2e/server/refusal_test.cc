// What the server refuses, and how it says so.
#include <gmock/gmock.h>

#include <unistd.h>

#include <functional>

#include "tests/e2e/server/server_fixture.h"

namespace modelpress::testing {
namespace {

class RefusalTest : public ServerTest {};

TEST_F(RefusalTest, EveryFaultOfAStreamHasItsReason) {
  const std::string blob = RandomBytes(1000, 1);
  struct Case {
    const char* name;
    std::function<void(Stream&)> act;
    grpc::StatusCode code;
    const char* reason;
  };
  const auto started = [&blob](Stream& stream, const char* id) {
    stream.SendStart(id, {blob});
    stream.ReadAccepted();
  };
  const Case cases[] = {
      {"nothing", [](Stream&) {}, grpc::FAILED_PRECONDITION, "PROTOCOL_VIOLATION"},
      {"chunk first", [](Stream& s) { s.SendChunk(1, 0, "x"); }, grpc::FAILED_PRECONDITION,
       "PROTOCOL_VIOLATION"},
      {"empty message", [](Stream& s) { s.Send({}); }, grpc::FAILED_PRECONDITION,
       "PROTOCOL_VIOLATION"},
      {"bad id", [&](Stream& s) { s.SendStart("a b", {blob}); }, grpc::INVALID_ARGUMENT,
       "REQUEST_INVALID"},
      {"bad recipe", [&](Stream& s) { s.SendStart("r", {blob}, kInvalidRecipe); },
       grpc::INVALID_ARGUMENT, "RECIPE_INVALID"},
      {"too large a plan", [&](Stream& s) { s.SendStart("m", {blob}, kHuge); },
       grpc::RESOURCE_EXHAUSTED, "MEMORY_BUDGET"},
      {"unknown job", [](Stream& s) { s.SendResume("no@where", 0); }, grpc::NOT_FOUND,
       "UNKNOWN_JOB"},
      {"two starts",
       [&](Stream& s) {
         started(s, "c1");
         s.SendStart("c1b", {blob});
       },
       grpc::FAILED_PRECONDITION, "PROTOCOL_VIOLATION"},
      {"early release",
       [&](Stream& s) {
         started(s, "c2");
         s.SendRelease();
       },
       grpc::FAILED_PRECONDITION, "PROTOCOL_VIOLATION"},
      {"gap",
       [&](Stream& s) {
         started(s, "c1");
         s.SendChunk(1, 5, "x");
       },
       grpc::OUT_OF_RANGE, "OFFSET_MISMATCH"},
      {"too many bytes",
       [&](Stream& s) {
         started(s, "c1");
         s.SendChunk(1, 0, blob + "x");
       },
       grpc::OUT_OF_RANGE, "OFFSET_MISMATCH"},
      {"corrupt",
       [&](Stream& s) {
         started(s, "c1");
         s.SendChunk(1, 0, "x", true);
       },
       grpc::ABORTED, "CHUNK_CORRUPT"},
      {"unknown blob",
       [&](Stream& s) {
         started(s, "c1");
         s.SendChunk(9, 0, "x");
       },
       grpc::INVALID_ARGUMENT, "REQUEST_INVALID"},
      {"large chunk",
       [&](Stream& s) {
         started(s, "c1");
         s.SendChunk(1, 0, std::string((1 << 20) + 1, 'x'));
       },
       grpc::INVALID_ARGUMENT, "BLOB_TOO_LARGE"},
      {"finish too early",
       [&](Stream& s) {
         started(s, "c1");
         s.SendFinish({blob});
       },
       grpc::FAILED_PRECONDITION, "UPLOAD_INCOMPLETE"},
      {"half-close too early", [&](Stream& s) { started(s, "c1"); }, grpc::FAILED_PRECONDITION,
       "UPLOAD_INCOMPLETE"},
      {"wrong digest",
       [&](Stream& s) {
         started(s, "c1");
         s.SendBlob(1, blob);
         s.SendFinish({"other"});
       },
       grpc::INVALID_ARGUMENT, "DIGEST_MISMATCH"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Stream stream(*stub_);
    c.act(stream);
    const grpc::Status status = stream.Finish();
    EXPECT_EQ(status.error_code(), c.code) << status.error_message();
    EXPECT_EQ(ReasonOfRpc(status), c.reason);
    EXPECT_FALSE(HasRetryInfo(status));
  }
}

TEST_F(RefusalTest, AfterAFaultTheUploadGoesOn) {
  const std::string blob = RandomBytes(1000, 2);
  std::string job_id;
  {
    Stream stream(*stub_);
    stream.SendStart("fault", {blob});
    job_id = stream.ReadAccepted().job().job_id();
    stream.SendChunk(1, 0, blob.substr(0, 400));
    stream.SendChunk(1, 400, blob.substr(400), /*corrupt=*/true);
    EXPECT_EQ(ReasonOfRpc(stream.Finish()), "CHUNK_CORRUPT");
  }
  {
    Stream stream(*stub_);
    stream.SendResume(job_id, 0);
    EXPECT_EQ(stream.ReadAccepted().committed_bytes(0), 400u);
    stream.SendBlob(1, blob, 400);
    stream.SendFinish({"wrong"});
    EXPECT_EQ(ReasonOfRpc(stream.Finish()), "DIGEST_MISMATCH");
  }
  Stream stream(*stub_);
  stream.SendResume(job_id, 0);
  EXPECT_EQ(stream.ReadAccepted().committed_bytes(0), 0u);  // once more from the start
  stream.SendBlob(1, blob);
  stream.SendFinish({blob});
  EXPECT_EQ(stream.ReadResult().status().code(), 0);
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(RefusalTest, FullQueueSaysWhenToComeBack) {
  std::vector<std::unique_ptr<Stream>> streams;
  for (const char* id : {"a", "b", "c"}) {  // one worker, two waiting
    streams.push_back(std::make_unique<Stream>(*stub_));
    streams.back()->SendStart(id, {"model"});
    streams.back()->ReadAccepted();
  }
  Stream refused(*stub_);
  refused.SendStart("d", {"model"});
  const grpc::Status status = refused.Finish();
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOfRpc(status), "QUEUE_FULL");
  EXPECT_TRUE(HasRetryInfo(status));
  const auto& trailers = refused.context().GetServerTrailingMetadata();
  const auto pushback = trailers.find("grpc-retry-pushback-ms");
  ASSERT_NE(pushback, trailers.end());
  EXPECT_EQ(std::string(pushback->second.data(), pushback->second.size()), "2000");
  for (auto& stream : streams) stream->Break();
}

TEST_F(RefusalTest, StaleSequences) {
  Stream stream(*stub_);
  stream.SendStart("stale", {"model"});
  const std::string job_id = stream.ReadAccepted().job().job_id();
  Stream future(*stub_);
  future.SendResume(job_id, 1000);
  const grpc::Status status = future.Finish();
  EXPECT_EQ(status.error_code(), grpc::OUT_OF_RANGE);
  EXPECT_EQ(ReasonOfRpc(status), "STALE_SEQUENCE");
  stream.Break();
}

TEST_F(RefusalTest, ArtifactOffsetsBeyondTheEnd) {
  Stream stream(*stub_);
  stream.SendStart("offsets", {"model"});
  const std::string job_id = stream.ReadAccepted().job().job_id();
  stream.SendBlob(1, "model");
  stream.SendFinish({"model"});
  stream.ReadResult();
  stream.Break();
  Stream resumed(*stub_);
  resumed.SendResume(job_id, 0, {6});
  EXPECT_EQ(ReasonOfRpc(resumed.Finish()), "OFFSET_MISMATCH");
}

TEST_F(RefusalTest, APeerThatStopsSendingLosesItsStream) {
  v1::ServerConfig config = DefaultConfig();
  config.set_stall_seconds(0.3);
  Restart(config);
  Stream silent(*stub_);
  grpc::Status status = silent.WaitForEnd();
  EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_EQ(ReasonOfRpc(status), "PEER_STALLED");
  Stream stream(*stub_);
  stream.SendStart("stalls", {"model"});
  stream.ReadAccepted();
  stream.SendChunk(1, 0, "mo");
  EXPECT_EQ(ReasonOfRpc(stream.WaitForEnd()), "PEER_STALLED");
}

TEST_F(RefusalTest, APeerThatStopsReadingLosesItsStream) {
  v1::ServerConfig config = DefaultConfig();
  config.set_stall_seconds(2);
  Restart(config);
  const std::string model = RandomBytes(32 << 20, 3);  // more than every buffer on the way
  Stream stream(*stub_);
  stream.SendStart("deaf", {model});
  stream.ReadAccepted();
  stream.SendBlob(1, model);
  stream.SendFinish({model});
  EXPECT_EQ(stream.ReadResult().status().code(), 0);
  for (int i = 0; i < 1000 && server_->open_streams() > 0; ++i) usleep(10000);
  EXPECT_EQ(server_->open_streams(), 0u);
  EXPECT_FALSE(stream.WaitForEnd().ok());
}

TEST_F(RefusalTest, AJobNobodyComesBackForIsForgotten) {
  v1::ServerConfig config = DefaultConfig();
  config.set_lease_seconds(0.3);
  Restart(config);
  Stream stream(*stub_);
  stream.SendStart("lost", {"model"}, kUntilCancelled);
  const std::string job_id = stream.ReadAccepted().job().job_id();
  stream.SendBlob(1, "model");
  stream.SendFinish({"model"});
  WaitForState(job_id, v1::Job::STATE_RUNNING);
  stream.Break();
  for (int i = 0; i < 300 && server_->Stats().running > 0; ++i) usleep(10000);
  Stream late(*stub_);
  late.SendResume(job_id, 0);
  EXPECT_EQ(ReasonOfRpc(late.Finish()), "UNKNOWN_JOB");
}

}  // namespace
}  // namespace modelpress::testing
