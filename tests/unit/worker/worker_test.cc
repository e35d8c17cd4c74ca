// Jobs in worker processes: good ones, crashing ones, hungry ones, and how fast they go away.
#include "core/worker/worker.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/base/scratch.h"
#include "onnx/defs/parser.h"
#include "tests/unit/worker/worker_test_program.h"

namespace modelpress {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kGoodModel[] = R"(<ir_version: 8, opset_import: ["" : 17]>
  g (float[N,2] x) => (float[N,2] y) <float[2] w = {1, 2}> { y = Add(x, w) })";
// Fills 4 GiB in one node.
constexpr char kHungryModel[] = R"(<ir_version: 8, opset_import: ["" : 17]>
  g (float[1] x) => (float[1] y) <int64[1] s = {1073741824}, int64[1] a = {0}> {
    big = ConstantOfShape<value = float[1] {1}>(s)
    grown = Add(big, x)
    y = ReduceSum<keepdims = 1>(grown, a)
  })";
// Multiplies matrices of 6144 x 6144 for minutes, in one call of the runtime.
std::string SlowModel() {
  std::string text = R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[1] x) => (float[6144,6144] y) <int64[2] s = {6144, 6144}> {
      big = ConstantOfShape<value = float[1] {0.001}>(s)
      t0 = Add(big, x)
    )";
  for (int i = 0; i < 100; ++i) {
    text += "t" + std::to_string(i + 1) + " = MatMul(t" + std::to_string(i) + ", t0)\n";
  }
  return text + "y = Identity(t100) }";
}

class WorkerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    scratch_ = Scratch::Temporary(0).value();
    Misbehave(Misbehaviour::kNone);
  }

  static void Misbehave(Misbehaviour how) {
    setenv(kMisbehaviourVariable, std::to_string(static_cast<int>(how)).c_str(), 1);
  }

  WorkerRequest Request(const std::string& model_text) {
    onnx::ModelProto model;
    EXPECT_TRUE(onnx::OnnxParser(model_text.c_str()).Parse(model).IsOK());
    const std::string path = scratch_->folder() + "/model";
    std::ofstream(path, std::ios::binary) << model.SerializeAsString();
    std::filesystem::create_directories(scratch_->folder() + "/out");
    WorkerRequest request;
    request.mutable_model()->set_name("model.onnx");
    request.mutable_model()->set_path(path);
    request.mutable_recipe()->mutable_judging()->set_latency(false);
    request.set_output_folder(scratch_->folder() + "/out");
    request.set_output_name("model.onnx");
    request.set_scratch_folder(scratch_->folder() + "/work");
    request.set_threads(2);
    return request;
  }

  static JobOutcome Run(const WorkerRequest& request) {
    auto process = WorkerProcess::Start(WORKER_TEST_PROGRAM, request).value();
    return process->Wait([](const Progress&) {});
  }

  std::unique_ptr<Scratch> scratch_;
};

TEST_F(WorkerTest, AGoodJobEndsWithReportAndFiles) {
  int events = 0;
  auto process = WorkerProcess::Start(WORKER_TEST_PROGRAM, Request(kGoodModel)).value();
  const JobOutcome outcome = process->Wait([&](const Progress&) { ++events; });
  EXPECT_FALSE(outcome.has_error()) << outcome.error_message();
  ASSERT_EQ(outcome.files_size(), 1);
  EXPECT_EQ(std::filesystem::file_size(scratch_->folder() + "/out/model.onnx"),
            outcome.files(0).size_bytes());
  EXPECT_GT(events, 0);
}

TEST_F(WorkerTest, AFailedJobKeepsItsReason) {
  WorkerRequest request = Request(kGoodModel);
  request.mutable_recipe()->add_passes()->mutable_quantize_weights();
  EXPECT_EQ(Run(request).error().reason(), ERROR_REASON_NOTHING_CHANGED);
}

TEST_F(WorkerTest, EveryWayToDieIsATypedErrorOfThatJob) {
  const struct {
    Misbehaviour how;
    ErrorReason reason;
    std::string signal;
  } cases[] = {
      {Misbehaviour::kSegmentationFault, ERROR_REASON_WORKER_CRASHED, "SIGSEGV"},
      {Misbehaviour::kBusError, ERROR_REASON_WORKER_CRASHED, "SIGBUS"},
      {Misbehaviour::kAbort, ERROR_REASON_WORKER_CRASHED, "SIGABRT"},
      {Misbehaviour::kKilled, ERROR_REASON_WORKER_OUT_OF_MEMORY, ""},
      {Misbehaviour::kExitSilently, ERROR_REASON_WORKER_CRASHED, "exit code 7"},
      {Misbehaviour::kGarbage, ERROR_REASON_INTERNAL_BUG, ""},
  };
  for (const auto& bad : cases) {
    Misbehave(bad.how);
    const JobOutcome outcome = Run(Request(kGoodModel));
    EXPECT_EQ(outcome.error().reason(), bad.reason) << outcome.error_message();
    if (!bad.signal.empty()) {
      EXPECT_EQ(outcome.error().metadata().at("signal"), bad.signal);
    }
  }
}

TEST_F(WorkerTest, MoreMemoryThanAllowedEndsTheJob) {
  WorkerRequest request = Request(kHungryModel);
  request.set_memory_limit_bytes(uint64_t{512} << 20);
  const JobOutcome outcome = Run(request);
  EXPECT_EQ(outcome.error().reason(), ERROR_REASON_WORKER_OUT_OF_MEMORY) << outcome.error_message();
}

TEST_F(WorkerTest, CancellingADeafWorkerKillsItWithinASecond) {
  Misbehave(Misbehaviour::kHang);
  auto process = WorkerProcess::Start(WORKER_TEST_PROGRAM, Request(kGoodModel)).value();
  Clock::time_point cancelled;
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    cancelled = Clock::now();
    process->Cancel();
  });
  const JobOutcome outcome = process->Wait([](const Progress&) {});
  canceller.join();
  EXPECT_LT(Clock::now() - cancelled, std::chrono::seconds(1));
  EXPECT_EQ(outcome.error().reason(), ERROR_REASON_JOB_CANCELLED);
  EXPECT_NE(kill(process->pid(), 0), 0);
}

TEST_F(WorkerTest, CancelReachesIntoTheRuntime) {
  auto process = WorkerProcess::Start(WORKER_TEST_PROGRAM, Request(SlowModel())).value();
  std::atomic<bool> judging = false;
  Clock::time_point cancelled;
  std::thread canceller([&] {
    while (!judging) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    cancelled = Clock::now();
    process->Cancel();
  });
  const JobOutcome outcome = process->Wait([&](const Progress& progress) {
    if (progress.phase() == "judge") judging = true;
  });
  judging = true;
  canceller.join();
  EXPECT_LT(Clock::now() - cancelled, std::chrono::seconds(1));
  EXPECT_EQ(outcome.error().reason(), ERROR_REASON_JOB_CANCELLED) << outcome.error_message();
}

TEST_F(WorkerTest, ADeadlineEndsAJobThatIsDeafInsideTheRuntime) {
  WorkerRequest request = Request(SlowModel());
  request.set_deadline_seconds(2);
  EXPECT_EQ(Run(request).error().reason(), ERROR_REASON_JOB_DEADLINE);
}

TEST_F(WorkerTest, DestroyingARunningWorkerLeavesNothing) {
  Misbehave(Misbehaviour::kHang);
  int pid = 0;
  {
    auto process = WorkerProcess::Start(WORKER_TEST_PROGRAM, Request(kGoodModel)).value();
    pid = process->pid();
  }
  EXPECT_NE(kill(pid, 0), 0);
}

TEST_F(WorkerTest, AMissingProgramIsAnError) {
  EXPECT_FALSE(WorkerProcess::Start("/no/such/program", Request(kGoodModel)).ok());
}

}  // namespace
}  // namespace modelpress
