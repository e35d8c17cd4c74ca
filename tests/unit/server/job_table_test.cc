// Jobs come, wait, run, end and are forgotten; with a clock turned by hand.
#include "server/jobs/job_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "core/base/scratch.h"
#include "core/base/status.h"
#include "google/rpc/error_details.pb.h"
#include "server/jobs/worker_slots.h"
#include "tests/unit/server/fakes.h"

namespace modelpress {
namespace {

using testing::FakeClock;
using testing::FakeStream;
using testing::RecordingListener;

class JobTableTest : public ::testing::Test {
 protected:
  JobTableTest() : scratch_(*Scratch::Temporary(0)) {
    JobTableOptions options;
    options.admission = {
        .memory_bytes = 100, .scratch_bytes = 1000, .workers = 1, .max_queued_jobs = 2};
    options.limits.set_lease_seconds(60);
    options.advertise = "host:1";
    options.scratch_folder = scratch_->folder();
    table_ = std::make_unique<JobTable>(options, &clock_, testing::Inline(), &listener_);
  }

  static std::vector<Blob> OneModel(uint64_t size = 4) {
    Blob blob;
    blob.set_blob_id(1);
    blob.set_role(Blob::ROLE_MODEL);
    blob.set_name("model.onnx");
    blob.set_size_bytes(size);
    return {blob};
  }
  absl::StatusOr<JobTable::Started> TryStart(const std::string& request_id,
                                             std::shared_ptr<FakeStream> stream,
                                             uint64_t memory = 10, double deadline = 100) {
    Plan plan;
    plan.set_memory_bytes(memory);
    plan.set_scratch_bytes(6);
    JobSpec spec;
    spec.set_deadline_seconds(deadline);
    return table_->Start(spec, OneModel(), request_id, plan, std::move(stream));
  }
  JobPtr Start(const std::string& request_id, std::shared_ptr<FakeStream> stream,
               uint64_t memory = 10) {
    auto started = TryStart(request_id, std::move(stream), memory);
    EXPECT_TRUE(started.ok()) << started.status();
    return started->job;
  }
  // Uploads nothing: the table does not look at the bytes.
  void Queue(const JobPtr& job) { table_->UploadFinished(job, {"00"}); }
  void Succeed(const JobPtr& job, const std::string& artifact = "result") {
    const WorkerRequest request = table_->RequestFor(job);
    std::filesystem::create_directories(request.output_folder());
    std::ofstream(request.output_folder() + "/model.onnx") << artifact;
    JobOutcome outcome;
    ArtifactFile& file = *outcome.add_files();
    file.set_name("model.onnx");
    file.set_size_bytes(artifact.size());
    table_->RunFinished(job, outcome);
  }
  Job::State StateOf(const JobPtr& job) { return table_->Snapshot(job).state(); }
  size_t FoldersInScratch() {
    return std::distance(std::filesystem::directory_iterator(scratch_->folder()), {});
  }

  std::unique_ptr<Scratch> scratch_;
  FakeClock clock_;
  RecordingListener listener_;
  std::unique_ptr<JobTable> table_;
  std::shared_ptr<FakeStream> stream_ = std::make_shared<FakeStream>();
};

TEST_F(JobTableTest, JobRunsToItsEnd) {
  const JobPtr job = Start("a", stream_);
  EXPECT_EQ(StateOf(job), Job::STATE_QUEUED);
  EXPECT_EQ(table_->Snapshot(job).phase(), "uploading");
  EXPECT_TRUE(job->id.ends_with("@host:1"));
  Queue(job);
  EXPECT_EQ(table_->Snapshot(job).queue_position(), 1u);
  ASSERT_EQ(table_->TakeJob(), job);
  EXPECT_EQ(StateOf(job), Job::STATE_RUNNING);
  Succeed(job);
  const Job done = table_->Snapshot(job);
  EXPECT_EQ(done.state(), Job::STATE_SUCCEEDED);
  EXPECT_EQ(done.result().files(0).size_bytes(), 6u);
  ASSERT_EQ(table_->Artifact(job).size(), 1u);
  const auto events = table_->EventsAfter(job, 0, 100);
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].sequence(), i + 1);
  EXPECT_TRUE(events.back().has_result());
  EXPECT_EQ(table_->Stats().scratch_in_use, 6u);  // the artifact
  table_->Forget(job);
  EXPECT_EQ(table_->Stats().scratch_in_use, 0u);
  EXPECT_EQ(FoldersInScratch(), 0u);
  EXPECT_EQ(ReasonOf(table_->Get(job->id).status()), ERROR_REASON_UNKNOWN_JOB);
}

TEST_F(JobTableTest, RetryOfAStartFindsItsJob) {
  const JobPtr job = Start("a", stream_);
  const auto newer = std::make_shared<FakeStream>();
  const auto again = TryStart("a", newer);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->existed);
  EXPECT_EQ(again->job, job);
  EXPECT_EQ(stream_->taken_over, 1);
  EXPECT_EQ(ReasonOf(TryStart("a", newer, 10, /*deadline=*/7).status()),
            ERROR_REASON_REQUEST_ID_REUSED);
}

TEST_F(JobTableTest, QueueIsBoundedAndSaysWhenToComeBack) {
  for (const char* id : {"a", "b", "c"}) Start(id, stream_);
  const absl::Status full = TryStart("d", stream_).status();
  EXPECT_EQ(ReasonOf(full), ERROR_REASON_QUEUE_FULL);
  EXPECT_THAT(listener_.rejected, ::testing::ElementsAre(ERROR_REASON_QUEUE_FULL));
  EXPECT_EQ(ReasonOf(table_->CheckRoom(OneModel(), Plan())), ERROR_REASON_QUEUE_FULL);
}

TEST_F(JobTableTest, LeaseBeginsWithTheDetach) {
  const JobPtr job = Start("a", stream_);
  clock_.Advance(absl::Hours(1));
  table_->Tick();
  ASSERT_TRUE(table_->Get(job->id).ok());  // attached: no lease runs
  table_->Detach(job, stream_.get());
  clock_.Advance(absl::Seconds(59));
  table_->Tick();
  ASSERT_TRUE(table_->Get(job->id).ok());
  // Attaching stops it.
  const auto newer = std::make_shared<FakeStream>();
  ASSERT_TRUE(table_->Resume(job->id, 0, newer).ok());
  clock_.Advance(absl::Seconds(100));
  table_->Tick();
  ASSERT_TRUE(table_->Get(job->id).ok());
  // The end of the older stream means nothing any more.
  table_->Detach(job, stream_.get());
  clock_.Advance(absl::Seconds(100));
  table_->Tick();
  ASSERT_TRUE(table_->Get(job->id).ok());
  table_->Detach(job, newer.get());
  clock_.Advance(absl::Seconds(60));
  table_->Tick();
  EXPECT_EQ(ReasonOf(table_->Get(job->id).status()), ERROR_REASON_UNKNOWN_JOB);
  EXPECT_EQ(listener_.leases_expired, 1);
  EXPECT_EQ(table_->Stats().scratch_in_use, 0u);
  EXPECT_EQ(FoldersInScratch(), 0u);
}

TEST_F(JobTableTest, LeaseOfARunningJobEndsItsWorker) {
  const JobPtr job = Start("a", stream_);
  Queue(job);
  ASSERT_EQ(table_->TakeJob(), job);
  int cancelled = 0;
  table_->RunStarted(job, [&] { ++cancelled; });
  table_->Detach(job, stream_.get());
  clock_.Advance(absl::Seconds(61));
  table_->Tick();
  EXPECT_EQ(cancelled, 1);
  EXPECT_EQ(table_->Stats().memory_in_use, 10u);  // until the worker is gone
  table_->RunFinished(job, {});
  EXPECT_EQ(table_->Stats().memory_in_use, 0u);
  EXPECT_EQ(table_->Stats().scratch_in_use, 0u);
  EXPECT_EQ(FoldersInScratch(), 0u);
}

TEST_F(JobTableTest, CancelEndsAJobAtEveryStage) {
  const JobPtr uploading = Start("uploading", stream_);
  const JobPtr queued = Start("queued", stream_);
  EXPECT_EQ(table_->Cancel(uploading->id)->state(), Job::STATE_CANCELLED);
  Queue(queued);
  EXPECT_EQ(table_->Cancel(queued->id)->state(), Job::STATE_CANCELLED);
  EXPECT_EQ(table_->Snapshot(queued).result().status().code(),
            static_cast<int>(absl::StatusCode::kCancelled));
  EXPECT_EQ(table_->Stats().queued, 0u);

  const JobPtr running = Start("running", stream_);
  Queue(running);
  ASSERT_EQ(table_->TakeJob(), running);  // the cancelled one left the queue
  EXPECT_EQ(table_->Cancel(running->id)->state(), Job::STATE_RUNNING);
  int cancelled = 0;
  table_->RunStarted(running, [&] { ++cancelled; });  // cancelled before its worker was there
  EXPECT_EQ(cancelled, 1);
  JobOutcome crashed;
  crashed.mutable_error()->set_reason(ERROR_REASON_WORKER_CRASHED);
  table_->RunFinished(running, crashed);
  EXPECT_EQ(StateOf(running), Job::STATE_CANCELLED);
  EXPECT_EQ(table_->Cancel(running->id)->state(), Job::STATE_CANCELLED);  // changes nothing
  ASSERT_EQ(listener_.finished.size(), 3u);
  for (const FinishedJob& job : listener_.finished)
    EXPECT_EQ(job.reason, ERROR_REASON_JOB_CANCELLED);
}

TEST_F(JobTableTest, DeadlineIsTheJobsError) {
  const JobPtr job = Start("a", stream_);
  Queue(job);
  ASSERT_EQ(table_->TakeJob(), job);
  int cancelled = 0;
  table_->RunStarted(job, [&] { ++cancelled; });
  clock_.Advance(absl::Seconds(101));
  table_->Tick();
  EXPECT_EQ(cancelled, 0);  // its own worker watches first
  clock_.Advance(absl::Seconds(2));
  table_->Tick();
  EXPECT_EQ(cancelled, 1);
  table_->RunFinished(job, {});
  EXPECT_EQ(listener_.finished[0].reason, ERROR_REASON_JOB_DEADLINE);
  EXPECT_EQ(listener_.finished[0].state, Job::STATE_FAILED);
}

TEST_F(JobTableTest, WaitsForMemoryInOrder) {
  const JobPtr first = Start("first", stream_, /*memory=*/60);
  const JobPtr large = Start("large", stream_, /*memory=*/60);
  const JobPtr small = Start("small", stream_, /*memory=*/10);
  for (const JobPtr& job : {first, large, small}) Queue(job);
  ASSERT_EQ(table_->TakeJob(), first);
  JobPtr next;
  std::thread taker([&] { next = table_->TakeJob(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(table_->Stats().running, 1u);  // the small one would fit, but it is not its turn
  table_->RunFinished(first, {});
  taker.join();
  EXPECT_EQ(next, large);
  EXPECT_EQ(table_->Snapshot(small).queue_position(), 1u);
}

TEST_F(JobTableTest, HeartbeatsAndHeldBackProgress) {
  const JobPtr job = Start("a", stream_);
  Queue(job);
  ASSERT_EQ(table_->TakeJob(), job);
  Progress progress;
  progress.set_phase("read");
  table_->RunProgress(job, progress);
  const uint64_t sequence = table_->Snapshot(job).last_sequence();
  progress.set_total_fraction(0.5);
  table_->RunProgress(job, progress);
  EXPECT_EQ(table_->Snapshot(job).last_sequence(), sequence);  // too soon
  clock_.Advance(absl::Milliseconds(250));
  table_->Tick();
  EXPECT_EQ(table_->Snapshot(job).last_sequence(), sequence + 1);
  EXPECT_EQ(table_->Snapshot(job).fraction(), 0.5);
  clock_.Advance(absl::Seconds(4.5));
  table_->Tick();
  EXPECT_EQ(table_->Snapshot(job).last_sequence(), sequence + 2);
  table_->Detach(job, stream_.get());
  clock_.Advance(absl::Seconds(10));
  table_->Tick();
  EXPECT_EQ(table_->Snapshot(job).last_sequence(), sequence + 2);  // nobody listens
}

TEST_F(JobTableTest, OldEventsGoAndTheFutureIsRefused) {
  const JobPtr job = Start("a", stream_);
  Queue(job);
  ASSERT_EQ(table_->TakeJob(), job);
  Progress progress;
  for (int i = 0; i < 5000; ++i) {
    progress.set_phase(i % 2 == 0 ? "read" : "write");
    table_->RunProgress(job, progress);
  }
  const uint64_t newest = table_->Snapshot(job).last_sequence();
  EXPECT_TRUE(table_->Resume(job->id, newest, stream_).ok());
  EXPECT_TRUE(table_->Resume(job->id, newest - JobTable::kMaxHeldEvents, stream_).ok());
  for (uint64_t after :
       {uint64_t{0}, newest - JobTable::kMaxHeldEvents - 1, newest + 1, ~uint64_t{0}}) {
    const absl::Status status = table_->Resume(job->id, after, stream_).status();
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_STALE_SEQUENCE) << after;
    EXPECT_EQ(DetailOf(status).metadata().at("newest"), std::to_string(newest));
  }
}

TEST_F(JobTableTest, DrainRefusesNewJobsAndEndsTheRest) {
  const JobPtr known = Start("known", stream_);
  table_->SetDraining();
  EXPECT_EQ(ReasonOf(TryStart("new", stream_).status()), ERROR_REASON_DRAINING);
  EXPECT_TRUE(TryStart("known", stream_).ok());  // a retry of what was accepted
  EXPECT_FALSE(table_->Idle());
  table_->EndAll();
  EXPECT_EQ(StateOf(known), Job::STATE_FAILED);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(table_->Snapshot(known).result().status().details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "DRAINING");
  EXPECT_FALSE(table_->Idle());  // its client is not told yet
  table_->Detach(known, stream_.get());
  EXPECT_TRUE(table_->Idle());
  table_->Stop();
  EXPECT_EQ(table_->TakeJob(), nullptr);
}

TEST_F(JobTableTest, ListsNewestFirstInPages) {
  std::vector<std::string> ids;
  for (const char* id : {"a", "b", "c"}) ids.push_back(Start(id, stream_)->id);
  const auto first = table_->List(2, "");
  ASSERT_EQ(first->jobs_size(), 2);
  EXPECT_EQ(first->jobs(0).job_id(), ids[2]);
  EXPECT_EQ(first->jobs(1).job_id(), ids[1]);
  const auto second = table_->List(2, first->next_page_token());
  ASSERT_EQ(second->jobs_size(), 1);
  EXPECT_EQ(second->jobs(0).job_id(), ids[0]);
  EXPECT_EQ(second->next_page_token(), "");
  EXPECT_EQ(ReasonOf(table_->List(2, "x").status()), ERROR_REASON_REQUEST_INVALID);
  EXPECT_EQ(ReasonOf(table_->List(1001, "").status()), ERROR_REASON_REQUEST_INVALID);
}

TEST_F(JobTableTest, AWorkersAnswerIsNotTrusted) {
  for (const char* name : {"../model.onnx", "/etc/passwd", "", ".", "missing"}) {
    SCOPED_TRACE(name);
    const JobPtr job = Start(std::string("a") + std::to_string(listener_.finished.size()), stream_);
    Queue(job);
    ASSERT_EQ(table_->TakeJob(), job);
    JobOutcome outcome;
    outcome.add_files()->set_name(name);
    table_->RunFinished(job, outcome);
    EXPECT_EQ(listener_.finished.back().reason, ERROR_REASON_INTERNAL_BUG);
    EXPECT_EQ(table_->Snapshot(job).result().files_size(), 0);
    table_->Forget(job);
  }
}

TEST_F(JobTableTest, AReportTooLargeForAMessageIsCut) {
  const JobPtr job = Start("a", stream_);
  Queue(job);
  ASSERT_EQ(table_->TakeJob(), job);
  JobOutcome outcome;
  PassReport& pass = *outcome.mutable_report()->add_passes();
  for (int i = 0; i < 100000; ++i) pass.add_changes()->set_tensor(std::string(60, 't'));
  table_->RunFinished(job, outcome);
  const Job done = table_->Snapshot(job);
  EXPECT_LT(done.ByteSizeLong(), 3u << 20);
  EXPECT_EQ(done.result().report().passes(0).changes_size(), 100);
  EXPECT_THAT(done.result().report().passes(0).notes(0), ::testing::HasSubstr("99900 more rows"));
}

// Runs at once what it is given, and waits where it is told to.
class FakeRunner final : public JobRunner {
 public:
  class Running final : public RunningJob {
   public:
    JobOutcome Wait(const std::function<void(const Progress&)>& progress) override {
      Progress step;
      step.set_phase("read");
      progress(step);
      JobOutcome outcome;
      if (cancelled_) outcome.mutable_error()->set_reason(ERROR_REASON_JOB_CANCELLED);
      return outcome;
    }
    void Cancel() override { cancelled_ = true; }

   private:
    std::atomic<bool> cancelled_ = false;
  };
  absl::StatusOr<std::unique_ptr<RunningJob>> Start(const WorkerRequest&) override {
    return std::make_unique<Running>();
  }
};

// Many clients, slots and a housekeeper at once: every job ends, everything comes back. (For the thread sanitizer.)
TEST(JobTableConcurrencyTest, EverythingComesBack) {
  const auto scratch = *Scratch::Temporary(0);
  FakeClock clock;
  JobListener listener;
  TaskPool pool(2);
  JobTableOptions options;
  options.admission = {
      .memory_bytes = 100, .scratch_bytes = 1000, .workers = 3, .max_queued_jobs = 5};
  options.limits.set_lease_seconds(60);
  options.scratch_folder = scratch->folder();
  JobTable table(options, &clock, [&](Task task) { pool.Post(std::move(task)); }, &listener);
  FakeRunner runner;
  std::atomic<int> finished = 0;
  {
    WorkerSlots slots(3, &table, &runner);
    std::atomic<bool> stop = false;
    std::thread housekeeper([&] {
      while (!stop) {
        clock.Advance(absl::Milliseconds(100));
        table.Tick();
        table.Stats();
        std::this_thread::yield();
      }
    });
    std::vector<std::thread> clients;
    for (int client = 0; client < 4; ++client) {
      clients.emplace_back([&, client] {
        for (int i = 0; i < 50; ++i) {
          const auto stream = std::make_shared<FakeStream>();
          JobSpec spec;
          spec.set_deadline_seconds(1e6);
          Plan plan;
          plan.set_memory_bytes(40);
          const auto started =
              table.Start(spec, {}, std::to_string(client) + "-" + std::to_string(i), plan, stream);
          if (!started.ok()) {
            EXPECT_EQ(ReasonOf(started.status()), ERROR_REASON_QUEUE_FULL);
            std::this_thread::yield();
            continue;
          }
          const JobPtr job = started->job;
          table.UploadFinished(job, {});
          if (i % 3 == 0) {
            EXPECT_TRUE(table.Cancel(job->id).ok());
          }
          while (!table.Terminal(job)) std::this_thread::yield();
          EXPECT_TRUE(table.EventsAfter(job, 0, 1000).back().has_result());
          table.Forget(job);
          ++finished;
        }
      });
    }
    for (std::thread& client : clients) client.join();
    stop = true;
    housekeeper.join();
    table.Stop();
  }
  EXPECT_GT(finished, 4);
  const JobTableStats stats = table.Stats();
  EXPECT_EQ(stats.memory_in_use, 0u);
  EXPECT_EQ(stats.running + stats.queued + stats.uploading + stats.finished, 0u);
  for (int i = 0; i < 1000 && table.Stats().scratch_in_use != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(table.Stats().scratch_in_use, 0u);
}

}  // namespace
}  // namespace modelpress
