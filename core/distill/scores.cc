// Rows of a model beside the teacher's: see scores.h.
#include "core/distill/scores.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/runtime/session.h"

namespace modelpress {
namespace {

// Rows that are run at once, where they can be joined.
constexpr uint64_t kJoined = 64;

// Sum of the cosines of vectors along the last axis, and how many there are.
struct Cosines {
  double sum = 0, count = 0;

  void Add(std::span<const float> teacher, std::span<const float> model) {
    double dot = 0, expected = 0, found = 0;
    for (size_t i = 0; i < teacher.size(); ++i) {
      dot += static_cast<double>(teacher[i]) * model[i];
      expected += static_cast<double>(teacher[i]) * teacher[i];
      found += static_cast<double>(model[i]) * model[i];
    }
    if (!(expected > 0)) return;
    ++count;
    if (found > 0) sum += std::clamp(dot / std::sqrt(expected) / std::sqrt(found), -1.0, 1.0);
    if (std::isnan(found)) --sum;
  }
};

// Compares outputs with the stored ones of the teacher, row by row.
class Scorer {
 public:
  Scorer(const PackedRows& data, const TaskSettings& task, double threshold,
         const JobContext& context)
      : data_(data), task_(task), threshold_(threshold), context_(context) {}

  absl::StatusOr<Scores> Run(uint64_t first, uint64_t count, const RunRows& run) {
    result_.noise.resize(data_.targets.size());
    result_.cosine.resize(data_.targets.size());
    const uint64_t step = data_.exact ? 1 : kJoined;
    for (uint64_t at = first; at < first + count; at += step) {
      MP_RETURN_IF_ERROR(context_.cancellation->Check());
      const uint64_t rows = std::min(step, first + count - at);
      MP_ASSIGN_OR_RETURN(const TensorMap outputs, run(at, rows));
      for (size_t t = 0; t < data_.targets.size(); ++t) {
        MP_RETURN_IF_ERROR(AddOutput(t, outputs, at, rows));
      }
    }
    return std::move(result_);
  }

 private:
  absl::Status AddOutput(size_t t, const TensorMap& outputs, uint64_t first, uint64_t rows) {
    const PackedTarget& target = data_.targets[t];
    const Tensor teacher = RowsOf(target.teacher, data_.exact, first, rows);
    const auto found = outputs.find(target.output);
    if (found == outputs.end() || found->second.dims != teacher.dims ||
        found->second.type != DataType::kFloat) {
      return Error(ERROR_REASON_ARTIFACT_REJECTED,
                   FormatString("output '{}' of the student is missing or has another shape than "
                                "the original's",
                                target.output))
          .With("stage", "compare");
    }
    const std::span<const float> x = teacher.as<float>(), y = found->second.as<float>();
    const uint64_t per_row = x.size() / rows;
    for (uint64_t row = 0; row < rows; ++row) {
      double signal = 0, noise = 0;
      for (uint64_t i = row * per_row; i < (row + 1) * per_row; ++i) {
        const double difference = static_cast<double>(x[i]) - y[i];
        signal += static_cast<double>(x[i]) * x[i];
        noise += difference * difference;
      }
      result_.noise[t].Add(noise, signal);
      if (target.loss != TrainTarget::LOSS_COSINE) continue;
      const auto length = static_cast<uint64_t>(teacher.dims.back());
      Cosines cosines;
      for (uint64_t i = row * per_row; i < (row + 1) * per_row; i += length) {
        cosines.Add(x.subspan(i, length), y.subspan(i, length));
      }
      result_.cosine[t].Add(cosines.sum, cosines.count);
    }
    if (target.output != task_.output) return absl::OkStatus();
    TensorMap teachers;
    teachers[target.output] = teacher;
    return AddClasses(target, teachers, outputs, first, rows);
  }

  absl::Status AddClasses(const PackedTarget& target, const TensorMap& teachers,
                          const TensorMap& outputs, uint64_t first, uint64_t rows) {
    MP_ASSIGN_OR_RETURN(const ClassReader original, ClassReader::Make(task_, teachers));
    MP_ASSIGN_OR_RETURN(const ClassReader model, ClassReader::Make(task_, outputs));
    std::optional<Tensor> labels;
    if (target.labels.has_value()) labels = RowsOf(*target.labels, data_.exact, first, rows);
    const uint64_t per_row = original.positions() / rows;
    const bool language = task_.task == Judging::TASK_LANGUAGE_MODEL;
    for (uint64_t row = 0; row < rows; ++row) {
      double agree = 0, right = 0, difference = 0, known = 0, bits = 0, teacher_bits = 0;
      for (uint64_t i = row * per_row; i < (row + 1) * per_row; ++i) {
        const int64_t a = original.Class(i, threshold_), b = model.Class(i, threshold_);
        agree += a == b;
        const int64_t label = labels.has_value() ? labels->as<int64_t>()[i] : -1;
        if (label < 0) continue;
        ++known;
        right += b == label;
        difference += static_cast<double>(b == label) - static_cast<double>(a == label);
        if (language) {
          bits += model.Bits(i, static_cast<uint64_t>(label));
          teacher_bits += original.Bits(i, static_cast<uint64_t>(label));
        } else {
          result_.decisions.push_back({static_cast<uint32_t>(result_.right.size()),
                                       static_cast<int32_t>(label), static_cast<int32_t>(b),
                                       static_cast<int32_t>(a)});
        }
      }
      result_.agree.Add(agree, static_cast<double>(per_row));
      result_.labelled.push_back(known > 0);
      if (known == 0) continue;
      result_.right.Add(right, known);
      result_.right_difference.Add(difference, known);
      result_.bits.Add(bits, known);
      result_.bits_difference.Add(bits - teacher_bits, known);
    }
    return absl::OkStatus();
  }

  const PackedRows& data_;
  const TaskSettings& task_;
  double threshold_;
  const JobContext& context_;
  Scores result_;
};

}  // namespace

absl::StatusOr<RunRows> Runner(const Model& model, const PackedRows& data,
                               const JobContext& context) {
  MP_ASSIGN_OR_RETURN(
      std::shared_ptr<const Session> session,
      Session::Create(model, {.threads = static_cast<int>(context.pool->threads())}));
  return [session, &data](uint64_t first, uint64_t count) -> absl::StatusOr<TensorMap> {
    return session->Run(FeedOf(data, first, count));
  };
}

RunRows StoredTeacher(const PackedRows& data) {
  return [&data](uint64_t first, uint64_t count) -> absl::StatusOr<TensorMap> {
    TensorMap outputs;
    for (const PackedTarget& target : data.targets) {
      outputs[target.output] = RowsOf(target.teacher, data.exact, first, count);
    }
    return outputs;
  };
}

// Where the settings leave it open: as the teacher's scores say.
double ThresholdOf(const TaskSettings& task, const PackedRows& data) {
  if (task.threshold.has_value()) return *task.threshold;
  for (const PackedTarget& target : data.targets) {
    if (target.output != task.output) continue;
    const auto rows = static_cast<uint64_t>(target.teacher.dims[0]);
    const Tensor all = RowsOf(target.teacher, /*exact=*/false, 0, rows);
    const bool unit =
        std::ranges::all_of(all.as<float>(), [](float v) { return v >= 0 && v <= 1; });
    return unit ? 0.5 : 0;
  }
  return 0;
}

absl::StatusOr<Scores> ScoreRows(const HeldOutData& data, double threshold, const RunRows& run,
                                 const JobContext& context) {
  return Scorer(data, data.task, threshold, context).Run(0, data.rows, run);
}

}  // namespace modelpress
