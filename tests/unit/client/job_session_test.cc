// The resume ladder against a service that breaks at every rung.
#include "client/session/job_session.h"

#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/client/fake_server.h"

namespace modelpress {
namespace {

using std::chrono::milliseconds;
using testing::FakeServer;
using testing::Fault;

constexpr size_t kChunk = 256 * 1024;

std::string RandomBytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

class JobSessionTest : public ::testing::Test {
 protected:
  JobSessionTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "session-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::filesystem::create_directory(folder_ + "/out");
    server_.set_artifact({{"model.onnx", artifact_}, {"weights-1.data", "sidecar"}});
    options_.server = server_.address();
    options_.stall_timeout = milliseconds(20'000);
    options_.retry_for = milliseconds(20'000);
    Add(Blob::ROLE_MODEL, "model.onnx", model_);
    Add(Blob::ROLE_DATA, "data.zip", data_);
  }
  ~JobSessionTest() override { std::filesystem::remove_all(folder_); }

  void Add(Blob::Role role, const std::string& name, const std::string& content) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << content;
    upload_.Add(role, name, MappedFile::OpenForReading(folder_ + "/" + name).value());
  }
  std::string Received(const std::string& name) {
    std::ifstream file(folder_ + "/out/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  SessionCallbacks Callbacks() {
    SessionCallbacks callbacks;
    callbacks.event = [this](const JobEvent& event) { sequences_.push_back(event.sequence()); };
    callbacks.upload = [](uint64_t, uint64_t) {};
    callbacks.download = [](uint64_t, uint64_t) {};
    callbacks.note = [this](std::string_view note) { notes_.emplace_back(note); };
    return callbacks;
  }
  absl::StatusOr<JobResult> Run() {
    return JobSession(options_, Callbacks()).Run(JobSpec(), &upload_, folder_ + "/out");
  }
  // Runs with these faults; the job must come out whole all the same.
  void RunThrough(std::deque<Fault> faults) {
    server_.set_faults(std::move(faults));
    const absl::StatusOr<JobResult> result = Run();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(server_.uploaded() == std::vector<std::string>({model_, data_}));
    EXPECT_TRUE(Received("model.onnx") == artifact_);
    EXPECT_EQ(Received("weights-1.data"), "sidecar");
    EXPECT_EQ(server_.releases(), 1);
  }

  const std::string model_ = RandomBytes(3 * kChunk + 17, 1);
  const std::string data_ = RandomBytes(1000, 2);
  const std::string artifact_ = RandomBytes(20'500, 3);
  std::string folder_;
  FakeServer server_;
  JobSession::Options options_;
  Upload upload_;
  std::vector<uint64_t> sequences_;
  std::vector<std::string> notes_;
};

TEST_F(JobSessionTest, CarriesFilesUpAndDown) {
  RunThrough({});
  EXPECT_EQ(server_.first_messages().size(), 1u);
  EXPECT_THAT(sequences_, ::testing::ElementsAre(1, 2));
  EXPECT_THAT(notes_, ::testing::IsEmpty());
}

TEST_F(JobSessionTest, UploadGoesOnWhereItBroke) {
  RunThrough(
      {{.kind = Fault::kCutUpload, .bytes = kChunk}, {.kind = Fault::kCutUpload, .bytes = 1}});
  const auto first = server_.first_messages();
  ASSERT_EQ(first.size(), 3u);
  EXPECT_TRUE(first[1].has_resume());
  EXPECT_EQ(server_.received_bytes(), model_.size() + data_.size()) << "bytes were sent twice";
}

TEST_F(JobSessionTest, DownloadGoesOnWhereItBroke) {
  RunThrough({{.kind = Fault::kCutDownload, .bytes = 5000}});
  const auto first = server_.first_messages();
  ASSERT_EQ(first.size(), 2u);
  EXPECT_GT(first[1].resume().artifact_offsets(0), 0u);
  EXPECT_EQ(first[1].resume().after_sequence(), 2u);
  EXPECT_THAT(sequences_, ::testing::ElementsAre(1, 2));
}

TEST_F(JobSessionTest, DamagedChunkIsFetchedAgain) { RunThrough({{.kind = Fault::kDamageChunk}}); }

TEST_F(JobSessionTest, SilentServerIsGivenUpAndResumed) {
  options_.stall_timeout = milliseconds(400);
  RunThrough({{.kind = Fault::kStall}});
  EXPECT_TRUE(server_.first_messages().back().has_resume());
}

TEST_F(JobSessionTest, LostJobIsSubmittedAgainUnderTheSameRequest) {
  RunThrough({{.kind = Fault::kCutDownload, .bytes = 5000}, {.kind = Fault::kForget}});
  const auto first = server_.first_messages();
  ASSERT_EQ(first.size(), 3u);
  ASSERT_TRUE(first[2].has_start());
  EXPECT_EQ(first[2].start().request_id(), first[0].start().request_id());
}

TEST_F(JobSessionTest, AnotherReplicaSendsUsToTheJobsOwnInstance) {
  // Under round robin the second stream reaches a replica that does not have the job; its address is in the id.
  RunThrough({{.kind = Fault::kCutDownload, .bytes = 5000}, {.kind = Fault::kNotMine}});
  const auto first = server_.first_messages();
  ASSERT_EQ(first.size(), 3u);
  EXPECT_TRUE(first[2].has_resume()) << "the job was alive, yet it was submitted again";
}

TEST_F(JobSessionTest, GoneInstanceMeansSubmittingElsewhere) {
  server_.set_advertised("127.0.0.1:1");  // nobody listens there
  RunThrough({{.kind = Fault::kCutDownload, .bytes = 5000},
              {.kind = Fault::kNotMine},
              {.kind = Fault::kNotMine},
              {.kind = Fault::kNotMine},
              {.kind = Fault::kForget}});
  EXPECT_TRUE(server_.first_messages().back().has_start());
}

TEST_F(JobSessionTest, OverloadIsWaitedFor) {
  RunThrough({{.kind = Fault::kRefuse, .reason = ERROR_REASON_QUEUE_FULL, .retry_after_ms = 100},
              {.kind = Fault::kRefuse, .reason = ERROR_REASON_DRAINING, .retry_after_ms = 100}});
  EXPECT_EQ(notes_.size(), 2u);
}

TEST_F(JobSessionTest, WrongDigestIsSentOnceMoreThenReported) {
  RunThrough({{.kind = Fault::kRefuse, .reason = ERROR_REASON_DIGEST_MISMATCH}});
  server_.set_faults({{.kind = Fault::kRefuse, .reason = ERROR_REASON_DIGEST_MISMATCH},
                      {.kind = Fault::kRefuse, .reason = ERROR_REASON_DIGEST_MISMATCH}});
  EXPECT_EQ(ReasonOf(Run().status()), ERROR_REASON_DIGEST_MISMATCH);
}

TEST_F(JobSessionTest, RefusalsThatARetryCannotCureEndAtOnce) {
  for (ErrorReason reason :
       {ERROR_REASON_RECIPE_INVALID, ERROR_REASON_BLOB_TOO_LARGE, ERROR_REASON_MEMORY_BUDGET,
        ERROR_REASON_REQUEST_ID_REUSED, ERROR_REASON_PROTOCOL_VIOLATION}) {
    SCOPED_TRACE(ReasonName(reason));
    const size_t before = server_.first_messages().size();
    server_.set_faults({{.kind = Fault::kRefuse, .reason = reason}});
    EXPECT_EQ(ReasonOf(Run().status()), reason);
    EXPECT_EQ(server_.first_messages().size(), before + 1);
  }
}

TEST_F(JobSessionTest, NobodyThere) {
  options_.server = "127.0.0.1:1";
  options_.retry_for = milliseconds(500);
  EXPECT_EQ(ReasonOf(Run().status()), ERROR_REASON_SERVER_UNREACHABLE);
}

TEST_F(JobSessionTest, CancellationReachesTheServer) {
  server_.set_endless();
  Cancellation cancellation;
  options_.cancellation = &cancellation;
  std::jthread canceller([&] {
    while (server_.uploaded() != std::vector<std::string>({model_, data_})) {
      std::this_thread::sleep_for(milliseconds(10));
    }
    cancellation.Cancel();
  });
  const absl::StatusOr<JobResult> result = Run();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->status().code(), 1);  // CANCELLED
  EXPECT_EQ(server_.cancels(), 1);
}

TEST_F(JobSessionTest, AttachesByIdAndSaysIfItIsGone) {
  // A job whose first client went away: its stream broke while the artifact came down, and nobody resumed.
  server_.set_faults({{.kind = Fault::kCutDownload, .bytes = 5000},
                      {.kind = Fault::kRefuse, .reason = ERROR_REASON_PROTOCOL_VIOLATION}});
  ASSERT_FALSE(Run().ok());
  std::filesystem::remove(folder_ + "/out/model.onnx");
  JobSession session(options_, Callbacks());
  ASSERT_TRUE(session.Attach("job@" + server_.address(), folder_ + "/out").ok());
  EXPECT_TRUE(Received("model.onnx") == artifact_);
  JobSession stranger(options_, Callbacks());
  EXPECT_EQ(ReasonOf(stranger.Attach("nobody@" + server_.address(), folder_ + "/out").status()),
            ERROR_REASON_UNKNOWN_JOB);
}

}  // namespace
}  // namespace modelpress
