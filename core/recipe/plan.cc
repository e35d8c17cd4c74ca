// Estimates before anything runs: see MakePlan in run.h.
#include <algorithm>

#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/recipe/job_files.h"
#include "core/recipe/plan_model.h"
#include "core/recipe/read_model.h"
#include "core/recipe/recipe_reader.h"
#include "core/recipe/run.h"
#include "core/training/train_model.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

constexpr uint64_t kMiB = 1 << 20;
// The program itself with its libraries, and the runtime once it was used (measured: 20 and 60
// MiB).
constexpr uint64_t kBaseMemory = 64 * kMiB;
constexpr uint64_t kRuntimeMemory = 128 * kMiB;
// A skeleton may take several times its bytes as messages in memory.
constexpr uint64_t kSkeletonFactor = 6;
// New weights lie in shared files of this size (weight_arena.cc). One that does not fit any more begins the next file, so
// that at worst half of each is left over.
constexpr uint64_t kArenaFileBytes = 64 * kMiB;
constexpr uint64_t kArenaWaste = 2;
// Of a training: what its files take for a byte of the model (values before and after, checkpoints), and for one of the
// data.
constexpr uint64_t kTrainingFiles = 32;
constexpr uint64_t kOutputsForInput = 40;
constexpr double kTrainingSeconds = 60;
// Bytes that reading, writing and comparing get through in a second on one core, for the rough
// guess of time.
constexpr double kReadPerSecond = 1e9;
constexpr double kWritePerSecond = 4e8;
constexpr double kCompressPerSecond = 2.5e8;

bool IsFull(const Recipe& recipe) { return recipe.judging().gate() != Judging::GATE_STRUCTURE; }

void AddStep(Plan* plan, std::string_view name, uint64_t memory, uint64_t scratch, double seconds) {
  PlanStep& step = *plan->add_steps();
  step.set_name(std::string(name));
  step.set_memory_bytes(memory);
  step.set_scratch_bytes(scratch);
  step.set_seconds(seconds);
  // Steps come one after the other, so memory is that of the largest; scratch is kept until the
  // end.
  plan->set_memory_bytes(std::max(plan->memory_bytes(), memory));
  plan->set_scratch_bytes(plan->scratch_bytes() + scratch);
  plan->set_seconds(plan->seconds() + seconds);
}

void AddGate(Plan* plan, const Recipe& recipe, uint64_t memory, uint64_t model_bytes) {
  const double bytes = static_cast<double>(model_bytes);
  AddStep(plan, "check", memory, 0, IsFull(recipe) ? 2 * bytes / kCompressPerSecond : 0.05);
  if (!IsFull(recipe)) return;
  AddStep(plan, "judge", memory + kRuntimeMemory, 0, 1 + bytes / kReadPerSecond);
  if (!recipe.judging().has_latency() || recipe.judging().latency()) {
    AddStep(plan, "latency", memory + kRuntimeMemory, 0, 3);
  }
}

// What a pass may write at most, as a share of the model.
double NewWeightShare(const PassStep& step) {
  switch (step.pass_case()) {
    case PassStep::kQuantizeWeights:
    case PassStep::kQuantizeDeadZone:
      return 0.6;  // of float16; 0.35 of float32
    case PassStep::kConvertFloat16:
      return 0.55;
    case PassStep::kConvertOpset:
      return 0.05;
    default:
      return 1;
  }
}

}  // namespace

Plan PlanModel(const Model& model, uint64_t model_bytes, const Recipe& recipe) {
  Plan plan;
  const uint64_t skeleton = model.proto().ByteSizeLong();
  const uint64_t memory = kBaseMemory + kSkeletonFactor * skeleton;
  const double bytes = static_cast<double>(model_bytes);
  AddStep(&plan, "read", memory, kArenaFileBytes,
          0.05 + static_cast<double>(skeleton) / kReadPerSecond);
  for (const PassStep& step : recipe.passes()) {
    const absl::StatusOr<const Pass*> pass = PassRegistry::Get().ForStep(step);
    if (!pass.ok()) continue;  // validated before
    const PassEstimate estimate = (*pass)->Estimate(model, step);
    AddStep(&plan, (*pass)->name(), memory + estimate.memory_bytes,
            kArenaWaste * estimate.scratch_bytes, estimate.seconds);
  }
  AddStep(&plan, "write", memory, model_bytes, bytes / kWritePerSecond);
  AddGate(&plan, recipe, memory, model_bytes);
  return plan;
}

Plan MakePlanFromSizes(uint64_t model_bytes, uint64_t data_bytes, const Recipe& recipe) {
  Plan plan;
  // How much of the file is skeleton is not known yet; weights dominate every large one.
  const uint64_t memory = kBaseMemory + std::min(model_bytes, 16 * kMiB) * kSkeletonFactor / 4;
  const double bytes = static_cast<double>(model_bytes);
  AddStep(&plan, "read", memory, kArenaFileBytes, 0.1);
  for (const PassStep& step : recipe.passes()) {
    const auto* field = PassStep::GetReflection()->GetOneofFieldDescriptor(
        step, PassStep::descriptor()->FindOneofByName("pass"));
    const std::string name = field == nullptr ? "pass" : field->name();
    if (const Pass* pass = PassRegistry::Get().Find(name); pass != nullptr && pass->trains()) {
      // Samples are unpacked beside the teacher's outputs, which may be many for each input (scores of every word), and
      // values inside of it (own_hints.h).
      AddStep(&plan, name, memory + TrainerMemory(model_bytes),
              kTrainingFiles * model_bytes + kOutputsForInput * data_bytes + 512 * kMiB,
              kTrainingSeconds);
      continue;
    }
    AddStep(&plan, name, memory + 64 * kMiB,
            kArenaWaste * (static_cast<uint64_t>(NewWeightShare(step) * bytes) + kMiB),
            bytes / kWritePerSecond);
  }
  AddStep(&plan, "write", memory, model_bytes + kMiB, bytes / kWritePerSecond);
  AddGate(&plan, recipe, memory, model_bytes);
  // Data that cannot be mapped where it lies (compressed or transposed arrays) is unpacked into
  // scratch.
  if (data_bytes > 0)
    AddStep(&plan, "data", memory, data_bytes, static_cast<double>(data_bytes) / kReadPerSecond);
  return plan;
}

absl::StatusOr<Plan> MakePlan(const JobInputs& inputs, const Recipe& recipe,
                              const JobContext& context) {
  MP_RETURN_IF_ERROR(ValidateRecipe(recipe));
  MP_ASSIGN_OR_RETURN(const JobModel read, ReadJobModel(inputs, recipe.import(), context));
  return PlanModel(read.model, ModelBytes(inputs), recipe);
}

}  // namespace modelpress
