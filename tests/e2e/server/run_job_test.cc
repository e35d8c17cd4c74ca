// Jobs through the wire: whole ones, broken and resumed ones, cancelled ones.
#include <gmock/gmock.h>

#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/e2e/server/server_fixture.h"

namespace modelpress::testing {
namespace {

constexpr size_t kPiece = 256 << 10;

class RunJobTest : public ServerTest {
 protected:
  // Starts a job and sends everything; the stream has read `accepted`.
  std::string Submit(Stream& stream, const std::string& id, const std::vector<std::string>& blobs,
                     uint64_t behaviour) {
    stream.SendStart(id, blobs, behaviour);
    const std::string job_id = stream.ReadAccepted().job().job_id();
    for (size_t i = 0; i < blobs.size(); ++i)
      stream.SendBlob(static_cast<uint32_t>(i + 1), blobs[i]);
    stream.SendFinish(blobs);
    return job_id;
  }
};

TEST_F(RunJobTest, WholeJob) {
  const std::string model = RandomBytes(3 * kPiece + 17, 1);
  const std::string sidecar = RandomBytes(1000, 2);
  Stream stream(*stub_);
  stream.SendStart("whole", {model, sidecar});
  const v1::JobAccepted accepted = stream.ReadAccepted();
  EXPECT_THAT(accepted.committed_bytes(), ::testing::ElementsAre(0, 0));
  EXPECT_FALSE(accepted.upload_finished());
  EXPECT_EQ(accepted.planned_memory_bytes(), 1u << 20);
  EXPECT_EQ(accepted.job().job_id().substr(accepted.job().job_id().find('@')),
            "@127.0.0.1:" + std::to_string(server_->port()));
  stream.SendBlob(1, model);
  stream.SendBlob(2, sidecar);
  stream.SendFinish({model, sidecar});
  const v1::JobResult result = stream.ReadResult();
  EXPECT_EQ(result.status().code(), 0);
  ASSERT_EQ(result.files_size(), 1);
  EXPECT_TRUE(stream.ReadArtifact(0, model.size()) == model);
  stream.SendRelease();
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(RunJobTest, UploadGoesOnWhereABrokenStreamLeftIt) {
  const std::string model = RandomBytes(5 * kPiece, 3);
  std::string job_id;
  {
    Stream stream(*stub_);
    stream.SendStart("resumed", {model});
    job_id = stream.ReadAccepted().job().job_id();
    stream.SendBlob(1, model, 0, 2 * kPiece);
    stream.Break();
  }
  Stream stream(*stub_);
  stream.SendResume(job_id, 0);
  const uint64_t committed = stream.ReadAccepted().committed_bytes(0);
  EXPECT_LE(committed, 2 * kPiece);
  EXPECT_EQ(committed % kPiece, 0u);
  stream.SendBlob(1, model, committed);
  stream.SendFinish({model});
  EXPECT_EQ(stream.ReadResult().status().code(), 0);
  EXPECT_TRUE(stream.ReadArtifact(0, model.size()) == model);
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(RunJobTest, JobRunsOnWithoutItsClientAndIsTakenUpAgain) {
  const std::string model = RandomBytes(2 * kPiece, 4);
  std::string job_id;
  uint64_t seen = 0;
  {
    Stream stream(*stub_);
    job_id = Submit(stream, "detached", {model}, kUntilGate);
    while (stream.ReadEvent().state() != v1::Job::STATE_RUNNING) {
    }
    seen = stream.last_sequence;
    stream.Break();
  }
  gate_->open = true;
  WaitForState(job_id, v1::Job::STATE_SUCCEEDED);
  // The artifact in two streams, each from its own offset.
  {
    Stream stream(*stub_);
    stream.SendResume(job_id, seen);
    EXPECT_TRUE(stream.ReadAccepted().upload_finished());
    EXPECT_EQ(stream.ReadResult().files_size(), 1);
    EXPECT_TRUE(stream.ReadArtifact(0, kPiece) == model.substr(0, kPiece));
    seen = stream.last_sequence;
    stream.Break();
  }
  Stream stream(*stub_);
  stream.SendResume(job_id, seen, {kPiece});
  stream.ReadAccepted();
  EXPECT_TRUE(stream.ReadArtifact(kPiece, kPiece) == model.substr(kPiece));
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(RunJobTest, ANewerStreamTakesOver) {
  const std::string model = RandomBytes(kPiece, 5);
  Stream older(*stub_);
  const std::string job_id = Submit(older, "same", {model}, kUntilGate);
  WaitForState(job_id, v1::Job::STATE_RUNNING);
  Stream newer(*stub_);
  newer.SendStart("same", {model}, kUntilGate);  // a blind retry
  EXPECT_EQ(newer.ReadAccepted().job().job_id(), job_id);
  EXPECT_EQ(older.WaitForEnd().error_code(), grpc::StatusCode::ABORTED);
  gate_->open = true;
  EXPECT_EQ(newer.ReadResult().status().code(), 0);
  EXPECT_TRUE(newer.ReadArtifact(0, model.size()) == model);
  EXPECT_TRUE(newer.Finish().ok());

  Stream other(*stub_);
  other.SendStart("same", {model + "x"}, kUntilGate);
  const grpc::Status status = other.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(ReasonOfRpc(status), "REQUEST_ID_REUSED");
}

TEST_F(RunJobTest, CancelWhileUploadingQueuedAndRunning) {
  const std::string model = RandomBytes(2 * kPiece, 6);
  Stream running(*stub_), queued(*stub_), uploading(*stub_);
  const std::string running_id = Submit(running, "running", {model}, kUntilCancelled);
  WaitForState(running_id, v1::Job::STATE_RUNNING);
  const std::string queued_id = Submit(queued, "queued", {model}, kCopy);
  uploading.SendStart("uploading", {model});
  const std::string uploading_id = uploading.ReadAccepted().job().job_id();
  uploading.SendBlob(1, model, 0, kPiece);
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& id : {uploading_id, queued_id, running_id}) {
    v1::CancelJobRequest request;
    request.set_job_id(id);
    v1::Job job;
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->CancelJob(&context, request, &job).ok());
    WaitForState(id, v1::Job::STATE_CANCELLED);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  // A client that does not know yet goes on sending and is told by the result.
  uploading.SendBlob(1, model, kPiece);
  for (Stream* stream : {&running, &queued, &uploading}) {
    EXPECT_EQ(stream->ReadResult().status().code(), grpc::StatusCode::CANCELLED);
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
  }
}

TEST_F(RunJobTest, AFailedJobIsAResultNotAnRpcError) {
  Stream stream(*stub_);
  Submit(stream, "fails", {"model"}, kFail);
  const v1::JobResult result = stream.ReadResult();
  EXPECT_EQ(result.status().code(), grpc::StatusCode::INVALID_ARGUMENT);
  google::rpc::Status rich = result.status();
  EXPECT_THAT(rich.SerializeAsString(), ::testing::HasSubstr("MODEL_MALFORMED"));
  EXPECT_EQ(result.files_size(), 0);
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(RunJobTest, ValidateOnlyTellsThePlanAndTakesNothing) {
  Stream stream(*stub_);
  stream.SendStart("validate", {"model"}, kCopy, /*validate_only=*/true);
  const v1::JobAccepted accepted = stream.ReadAccepted();
  EXPECT_EQ(accepted.job().job_id(), "");
  EXPECT_EQ(accepted.planned_memory_bytes(), 1u << 20);
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_EQ(server_->Stats().uploading, 0u);
}

TEST_F(RunJobTest, ReleaseForgetsTheJobAtOnce) {
  Stream stream(*stub_);
  const std::string job_id = Submit(stream, "released", {"model"}, kCopy);
  stream.ReadResult();
  stream.SendRelease();
  EXPECT_TRUE(stream.WaitForEnd().ok());
  for (int i = 0; i < 200 && server_->Stats().finished > 0; ++i) usleep(5000);
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  v1::Job job;
  grpc::ClientContext context;
  EXPECT_EQ(ReasonOfRpc(stub_->GetJob(&context, request, &job)), "UNKNOWN_JOB");
}

TEST_F(RunJobTest, AnEventComesEveryFiveSeconds) {
  Stream stream(*stub_);
  Submit(stream, "quiet", {"model"}, kUntilGate);
  v1::JobEvent event;
  while (event.phase() != "write") event = stream.ReadEvent();  // the last news for a long time
  const auto start = std::chrono::steady_clock::now();
  stream.ReadEvent();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  gate_->open = true;
  EXPECT_EQ(stream.ReadResult().status().code(), 0);
  stream.ReadArtifact(0, 5);
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(RunJobTest, ManyJobsAtOnceKeepTheirBytesApart) {
  v1::ServerConfig config = DefaultConfig();
  config.set_workers(4);
  Restart(config);
  std::vector<std::thread> clients;
  for (uint32_t i = 0; i < 4; ++i) {
    clients.emplace_back([&, i] {
      const std::string model = RandomBytes(20 * kPiece + i, 100 + i);
      Stream stream(*stub_);
      Submit(stream, "many-" + std::to_string(i), {model}, kCopy);
      EXPECT_EQ(stream.ReadResult().status().code(), 0);
      EXPECT_TRUE(stream.ReadArtifact(0, model.size()) == model);
      EXPECT_TRUE(stream.Finish().ok());
    });
  }
  for (std::thread& client : clients) client.join();
}

}  // namespace
}  // namespace modelpress::testing
