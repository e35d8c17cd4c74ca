// Packing samples for the trainer: see training_data.h.
#include "core/training/training_data.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/numbers.h"
#include "core/training/augmentation.h"
#include "core/training/output_kinds.h"
#include "core/training/sample_sources.h"
#include "core/training/sample_split.h"

namespace modelpress {
namespace {

class Packer {
 public:
  Packer(const Model& teacher, const Training& training, const JobContext& context,
         const std::function<void(double)>& progress, const Judging& judging, HeldOutData* held_out)
      : teacher_(teacher),
        training_(training),
        context_(context),
        progress_(progress),
        judging_(judging),
        held_out_(held_out) {}

  absl::StatusOr<TrainingData> Pack(const DataSet* data, uint64_t seed) {
    MP_ASSIGN_OR_RETURN(
        session_,
        Session::Create(teacher_, {.threads = static_cast<int>(context_.pool->threads())}));
    MP_ASSIGN_OR_RETURN(OpenSources opened,
                        OpenSampleSources(teacher_, *session_, data, training_.max_samples(),
                                          /*all=*/held_out_ != nullptr, seed));
    sources_ = std::move(opened.sources);
    result_.exact = !opened.joined;
    MP_RETURN_IF_ERROR(Plan(seed));
    MP_RETURN_IF_ERROR(Fill(seed));
    for (PackedTarget& target : result_.targets) DescribeTeacherValues(result_.exact, &target);
    if (held_out_ == nullptr) return std::move(result_);
    for (PackedTarget& target : held_out_->targets) DescribeTeacherValues(result_.exact, &target);
    return std::move(result_);
  }

 private:
  uint64_t RowCount(const OpenSource& source) const {
    return result_.exact ? source.samples->batches() : source.samples->size();
  }

  // Divides the rows, and lays out the arrays by the first feed.
  absl::Status Plan(uint64_t seed) {
    std::vector<SampleSource> sources;
    for (const OpenSource& source : sources_) {
      sources.push_back({source.name, RowCount(source), source.samples->has_labels()});
    }
    split_ = held_out_ != nullptr ? SplitForJudging(sources, seed) : SplitForTraining(sources);
    result_.training = result_.originals = split_.Count(kTrainedOn);
    result_.validation = split_.Count(kValidatedBy);
    result_.description = split_.description;
    if (result_.training == 0) {
      return Error(ERROR_REASON_DATA_MISSING, "there are no samples to train on")
          .With("needed", "train, unlabeled or calib");
    }
    // Labels say most about the task.
    const auto labelled = std::ranges::find_if(sources_, [](const OpenSource& source) {
      return source.samples->has_labels() && source.samples->batches() > 0;
    });
    const OpenSource& telling = labelled == sources_.end() ? sources_[0] : *labelled;
    MP_ASSIGN_OR_RETURN(const Batch first, telling.samples->Read(0));
    MP_ASSIGN_OR_RETURN(const TensorMap outputs, session_->Run(first.inputs));
    MP_ASSIGN_OR_RETURN(kinds_, ResolveOutputs(training_, judging_, session_->outputs(), outputs,
                                               first, /*joined=*/!result_.exact));
    uses_labels_ = std::ranges::any_of(kinds_.outputs, &OutputKind::labels);
    result_.task = kinds_.task.description;
    MP_RETURN_IF_ERROR(PlanAugmentation(first));
    MP_RETURN_IF_ERROR(PlanRows(first, outputs, /*all_outputs=*/false,
                                result_.training * (1 + copies_) + result_.validation, result_));
    if (held_out_ == nullptr) return absl::OkStatus();
    held_out_->exact = result_.exact;
    held_out_->rows = split_.Count(kJudgedBy);
    held_out_->task = kinds_.task;
    held_out_->synthetic = sources_[0].samples->synthetic();
    held_out_->notes = split_.notes;
    return PlanRows(first, outputs, /*all_outputs=*/true, held_out_->rows, *held_out_);
  }

  // Inputs, and the outputs that are trained by or all that are compared.
  absl::Status PlanRows(const Batch& first, const TensorMap& outputs, bool all_outputs,
                        uint64_t rows, PackedRows& packed) {
    const bool labels = std::ranges::any_of(
        sources_, [](const OpenSource& source) { return source.samples->has_labels(); });
    const auto reserve = [&](const std::string& name, const Tensor& like) {
      return ReserveRows(name, like, result_.exact, rows, context_);
    };
    for (const ValueInfo& input : session_->inputs()) {
      MP_ASSIGN_OR_RETURN(packed.inputs.emplace_back(),
                          reserve(input.name, first.inputs.at(input.name)));
    }
    for (const OutputKind& kind : kinds_.outputs) {
      if (!all_outputs && !kind.trained) continue;
      const Tensor& output = outputs.at(kind.output);
      PackedTarget& target = packed.targets.emplace_back();
      target.output = kind.output;
      target.loss = kind.loss;
      target.class_axis = kind.class_axis;
      MP_ASSIGN_OR_RETURN(target.teacher, reserve(kind.output, output));
      if (!kind.labels || !labels) continue;
      Tensor like{.type = DataType::kInt64, .dims = output.dims};
      if (kind.loss == TrainTarget::LOSS_CLASSES) {
        like.dims.erase(like.dims.begin() + kind.class_axis);
      }
      MP_ASSIGN_OR_RETURN(target.labels, reserve("labels", like));
      std::memset(target.labels->file->mutable_bytes().data(), 0xFF,
                  target.labels->file->size());  // -1: none
    }
    return absl::OkStatus();
  }

  absl::Status PlanAugmentation(const Batch& first) {
    if (training_.augmented_copies() == 0) return absl::OkStatus();
    if (result_.exact || first.inputs.size() != 1 || !IsImage(first.inputs.begin()->second)) {
      return Error(ERROR_REASON_DATA_INVALID,
                   "augmented_copies needs a single input of float32 images [N, channels, height, "
                   "width]")
          .With("input", first.inputs.begin()->first);
    }
    copies_ = training_.augmented_copies();
    return absl::OkStatus();
  }

  // Copies samples [from, from + count) of a tensor, which holds `samples`, to rows from `row` on.
  absl::Status Copy(const PackedArray& array, const Tensor& tensor, uint64_t samples, uint64_t from,
                    uint64_t count, uint64_t row, uint64_t source_sample) {
    std::vector<int64_t> wanted = array.dims;
    if (result_.exact) {
      wanted.erase(wanted.begin());
    } else {
      wanted[0] = static_cast<int64_t>(samples);
    }
    if (tensor.dims != wanted || tensor.type != array.type) {
      return Error(
                 ERROR_REASON_DATA_INVALID,
                 FormatString("sample {} has another shape than the first in '{}' ([{}] and [{}]); "
                              "training needs one shape",
                              source_sample, array.name, absl::StrJoin(tensor.dims, ","),
                              absl::StrJoin(wanted, ",")))
          .With("input", array.name);
    }
    const uint64_t per_row = tensor.bytes.size() / (result_.exact ? 1 : samples);
    std::memcpy(array.file->mutable_bytes().data() + row * per_row,
                tensor.bytes.data() + from * per_row, count * per_row);
    return absl::OkStatus();
  }

  absl::Status CopyLabels(PackedTarget& target, const Batch& batch, uint64_t from, uint64_t count,
                          uint64_t row) {
    if (!target.labels.has_value() || !batch.labels.has_value()) return absl::OkStatus();
    const Tensor& labels = *batch.labels;
    uint64_t per_row = 1;
    for (size_t i = 1; i < target.labels->dims.size(); ++i) {
      per_row *= static_cast<uint64_t>(target.labels->dims[i]);
    }
    const uint64_t rows_here = result_.exact ? 1 : batch.samples;
    if (labels.element_count() != per_row * rows_here) {
      return Error(ERROR_REASON_DATA_INVALID,
                   FormatString("the labels of sample {} do not fit output '{}'", batch.first,
                                target.output))
          .With("input", "labels");
    }
    const int64_t classes = ClassesOf(target, result_.exact);
    auto* const to = reinterpret_cast<int64_t*>(target.labels->file->mutable_bytes().data());
    const Numbers values(labels);
    for (uint64_t i = 0; i < count * per_row; ++i) {
      const double value = values[from * per_row + i];
      if (value >= static_cast<double>(classes) || value != std::floor(value)) {
        return Error(ERROR_REASON_DATA_INVALID,
                     FormatString("label {} of sample {} is none of the {} classes", value,
                                  batch.first, classes))
            .With("input", "labels")
            .With("expected", FormatString("0 to {}", classes - 1))
            .Remedy(
                FormatString("correct the labels; if '{}' holds no classes but numbers, say so: "
                             "training.outputs: [{{output: {}, kind: values}}]",
                             target.output, target.output));
      }
      to[row * per_row + i] = value < 0 ? -1 : static_cast<int64_t>(value);
    }
    return absl::OkStatus();
  }

  // One feed's samples [from, from + count) to rows from `row` on.
  absl::Status Put(const Batch& batch, const TensorMap& outputs, uint64_t from, uint64_t count,
                   PackedRows& packed, uint64_t row) {
    for (const PackedArray& input : packed.inputs) {
      MP_RETURN_IF_ERROR(
          Copy(input, batch.inputs.at(input.name), batch.samples, from, count, row, batch.first));
    }
    for (PackedTarget& target : packed.targets) {
      MP_RETURN_IF_ERROR(Copy(target.teacher, outputs.at(target.output), batch.samples, from, count,
                              row, batch.first));
      MP_RETURN_IF_ERROR(CopyLabels(target, batch, from, count, row));
    }
    return absl::OkStatus();
  }

  absl::Status Fill(uint64_t seed) {
    uint64_t training_row = 0, validation_row = result_.training * (1 + copies_), judging_row = 0;
    uint64_t done = 0, all = 0;
    for (const OpenSource& source : sources_) all += source.samples->batches();
    for (size_t s = 0; s < sources_.size(); ++s) {
      const Samples& samples = *sources_[s].samples;
      uint64_t number = 0;  // of a row of the source
      for (uint64_t i = 0; i < samples.batches(); ++i, ++done) {
        MP_RETURN_IF_ERROR(context_.cancellation->Check());
        if (progress_) progress_(static_cast<double>(done) / static_cast<double>(all));
        MP_ASSIGN_OR_RETURN(const Batch batch, samples.Read(i));
        MP_ASSIGN_OR_RETURN(const TensorMap outputs, session_->Run(batch.inputs));
        MP_RETURN_IF_ERROR(CheckFinite(outputs, batch));
        const uint64_t rows = result_.exact ? 1 : batch.samples;
        for (uint64_t k = 0; k < rows; ++k) {
          const uint8_t use = split_.uses[s][number++];
          if ((use & kTrainedOn) != 0) {
            MP_RETURN_IF_ERROR(Put(batch, outputs, k, 1, result_, training_row++));
            if (uses_labels_ && batch.labels.has_value()) ++result_.labelled;
          }
          if ((use & kValidatedBy) != 0) {
            MP_RETURN_IF_ERROR(Put(batch, outputs, k, 1, result_, validation_row++));
          }
          if ((use & kJudgedBy) != 0) {
            MP_RETURN_IF_ERROR(Put(batch, outputs, k, 1, *held_out_, judging_row++));
            if (uses_labels_ && batch.labels.has_value()) ++held_out_->labelled;
          }
        }
      }
    }
    if (copies_ > 0) MP_RETURN_IF_ERROR(FillCopies(seed));
    result_.training *= 1 + copies_;
    return absl::OkStatus();
  }

  // Copy c of training row r lies in row r + c * training.
  absl::Status FillCopies(uint64_t seed) {
    PackedArray& images = result_.inputs[0];
    const uint64_t per_row = images.file->size() / static_cast<uint64_t>(images.dims[0]);
    std::vector<int64_t> shape = images.dims;
    for (uint64_t copy = 1; copy <= copies_; ++copy) {
      for (uint64_t first = 0; first < result_.training; first += kJoinedSamples) {
        MP_RETURN_IF_ERROR(context_.cancellation->Check());
        const uint64_t count = std::min(kJoinedSamples, result_.training - first);
        shape[0] = static_cast<int64_t>(count);
        Batch batch{.samples = count, .first = first};
        std::span<std::byte> bytes;
        MP_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Make(DataType::kFloat, shape, &bytes));
        for (uint64_t k = 0; k < count; ++k) {
          Random random(seed, copy, first + k);
          const auto source = images.file->bytes().subspan((first + k) * per_row, per_row);
          AugmentImage(
              {reinterpret_cast<const float*>(source.data()), per_row / sizeof(float)},
              {reinterpret_cast<float*>(bytes.data() + k * per_row), per_row / sizeof(float)},
              shape[1], shape[2], shape[3], random);
        }
        batch.inputs[images.name] = tensor;
        MP_ASSIGN_OR_RETURN(const TensorMap outputs, session_->Run(batch.inputs));
        MP_RETURN_IF_ERROR(CheckFinite(outputs, batch));
        MP_RETURN_IF_ERROR(Put(batch, outputs, 0, count, result_, copy * result_.training + first));
        // The label of a sample is that of its copies.
        for (PackedTarget& target : result_.targets) {
          if (!target.labels.has_value()) continue;
          const auto rows = static_cast<uint64_t>(target.labels->dims[0]);
          const uint64_t label_bytes = target.labels->file->size() / rows;
          std::byte* const to = target.labels->file->mutable_bytes().data();
          std::memcpy(to + (copy * result_.training + first) * label_bytes,
                      to + first * label_bytes, count * label_bytes);
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckFinite(const TensorMap& outputs, const Batch& batch) const {
    const PackedRows& packed =
        held_out_ != nullptr ? static_cast<const PackedRows&>(*held_out_) : result_;
    for (const PackedTarget& target : packed.targets) {
      for (const float value : outputs.at(target.output).as<float>()) {
        if (std::isfinite(value)) continue;
        return Error(ERROR_REASON_DATA_NOT_FINITE,
                     FormatString("the original gives NaN or infinity in '{}' at sample {}",
                                  target.output, batch.first))
            .With("sample", std::to_string(batch.first));
      }
    }
    return absl::OkStatus();
  }

  const Model& teacher_;
  const Training& training_;
  const JobContext& context_;
  const std::function<void(double)>& progress_;
  const Judging& judging_;
  HeldOutData* held_out_;
  std::unique_ptr<Session> session_;
  std::vector<OpenSource> sources_;
  SampleSplit split_;
  OutputKinds kinds_;
  bool uses_labels_ = false;
  uint64_t copies_ = 0;
  TrainingData result_;
};

}  // namespace

absl::StatusOr<TrainingData> PackTrainingData(const Model& teacher, const DataSet* data,
                                              const Training& training, uint64_t seed,
                                              const JobContext& context,
                                              const std::function<void(double)>& progress,
                                              const Judging& judging, HeldOutData* held_out) {
  return Packer(teacher, training, context, progress, judging, held_out).Pack(data, seed);
}

}  // namespace modelpress
