// Kinds of outputs: see output_kinds.h.
#include "core/training/output_kinds.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/numbers.h"

namespace modelpress {
namespace {

std::string_view NameOf(OutputLoss::Kind kind) {
  switch (kind) {
    case OutputLoss::KIND_CLASSES:
      return "classes";
    case OutputLoss::KIND_BINARY:
      return "yes or no for each score";
    case OutputLoss::KIND_EMBEDDING:
      return "an embedding";
    default:
      return "values";
  }
}

bool HasDecisions(OutputLoss::Kind kind) {
  return kind == OutputLoss::KIND_CLASSES || kind == OutputLoss::KIND_BINARY;
}

// The usual place of classes: last, or axis 1 for images of scores [N,C,H,W].
int UsualClassAxis(const Tensor& output) {
  return output.dims.size() >= 4 ? 1 : static_cast<int>(output.dims.size()) - 1;
}

std::string ShapeText(const Tensor& tensor) {
  return FormatString("[{}]", absl::StrJoin(tensor.dims, ","));
}

class Resolving {
 public:
  Resolving(const Training& training, const Judging& judging, const std::vector<ValueInfo>& outputs,
            const TensorMap& values, const Batch& batch, bool joined)
      : training_(training),
        judging_(judging),
        outputs_(outputs),
        values_(values),
        batch_(batch),
        joined_(joined) {}

  absl::StatusOr<OutputKinds> Resolve() {
    for (int i = 0; i < training_.outputs_size(); ++i) MP_RETURN_IF_ERROR(CheckEntry(i));
    for (const ValueInfo& output : outputs_) {
      if (IsFloat(output.name)) MP_RETURN_IF_ERROR(CheckKind(output.name));
    }
    MP_RETURN_IF_ERROR(ResolveTaskOutput());
    ListOutputs();
    if (result_.outputs.empty()) {
      return Error(ERROR_REASON_OP_UNSUPPORTED, "the model has no float32 output to train by");
    }
    return std::move(result_);
  }

 private:
  bool IsFloat(const std::string& name) const {
    const auto found = values_.find(name);
    return found != values_.end() && found->second.type == DataType::kFloat;
  }

  // The entry about an output: its own, else the one about every output; -1: none.
  int EntryOf(const std::string& name) const {
    int every = -1;
    for (int i = 0; i < training_.outputs_size(); ++i) {
      if (training_.outputs(i).output() == name) return i;
      if (training_.outputs(i).output().empty()) every = i;
    }
    return every;
  }

  OutputLoss::Kind Told(const std::string& name) const {
    const int entry = EntryOf(name);
    return entry < 0 ? OutputLoss::KIND_UNSPECIFIED : training_.outputs(entry).kind();
  }

  Error Refuse(int entry, std::string_view field, std::string_view why) const {
    const std::string path = FormatString("training.outputs[{}].{}", entry, field);
    return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{}: {}", path, why))
        .With("field", path);
  }

  absl::Status CheckEntry(int entry) const {
    const std::string& name = training_.outputs(entry).output();
    if (name.empty() || IsFloat(name)) return absl::OkStatus();
    std::vector<std::string> names;
    for (const ValueInfo& output : outputs_) {
      if (IsFloat(output.name)) names.push_back(output.name);
    }
    const auto found = values_.find(name);
    const std::string what = found == values_.end()
                                 ? std::string("is no output of the model")
                                 : FormatString("holds {}, by which nothing can be trained",
                                                std::string(DataTypeName(found->second.type)));
    return Refuse(entry, "output", FormatString("'{}' {}", name, what))
        .Remedy(names.empty()
                    ? std::string("the model has no float32 output to train by")
                    : FormatString("the float32 outputs are {}", absl::StrJoin(names, ", ")));
  }

  // Whether an output can hold what is told of it.
  absl::Status CheckKind(const std::string& name) const {
    const Tensor& output = values_.at(name);
    const auto rank = static_cast<int>(output.dims.size());
    const int first = joined_ ? 1 : 0;  // axis that is not that of samples
    const auto refuse = [&](std::string_view lack) {
      return Refuse(EntryOf(name), "kind",
                    FormatString("output '{}' of shape {} has {}", name, ShapeText(output), lack))
          .Remedy("say kind: values, or binary where each number answers yes or no");
    };
    switch (Told(name)) {
      case OutputLoss::KIND_CLASSES: {
        const bool judged = name == judging_.output() && judging_.has_class_axis();
        const int axis = judged ? judging_.class_axis() + (judging_.class_axis() < 0 ? rank : 0)
                                : UsualClassAxis(output);
        if (axis < first || axis >= rank || output.dims[axis] < 2) {
          return refuse("no axis of two or more classes");
        }
        return absl::OkStatus();
      }
      case OutputLoss::KIND_EMBEDDING:
        if (rank <= first || output.dims.back() < 2) {
          return refuse("no axis along which it has a direction");
        }
        return absl::OkStatus();
      default:
        return absl::OkStatus();
    }
  }

  // The output that is to be judged: the one that judging names, else the first that is told to decide; empty: guessed.
  std::string JudgedOutput() const {
    if (!judging_.output().empty()) return judging_.output();
    for (const ValueInfo& output : outputs_) {
      if (IsFloat(output.name) && HasDecisions(Told(output.name))) return output.name;
    }
    return "";
  }

  bool labels_count() const {
    return batch_.labels.has_value() && judging_.task() != Judging::TASK_NONE;
  }

  absl::Status ResolveTaskOutput() {
    const std::string judged = JudgedOutput();
    if (judged.empty()) return GuessTask();
    const OutputLoss::Kind kind = Told(judged);
    if (kind != OutputLoss::KIND_UNSPECIFIED && !HasDecisions(kind)) {
      return Refuse(EntryOf(judged), "kind",
                    FormatString("output '{}' is told to hold {}, and judging.output names it as "
                                 "the one that decides",
                                 judged, std::string(NameOf(kind))))
          .Remedy("leave out one of the two");
    }
    Judging judging = judging_;
    judging.set_output(judged);
    if (kind == OutputLoss::KIND_BINARY && !labels_count()) {
      result_.task.output = judged;
      result_.task.class_axis = -1;
      if (judging.has_threshold()) result_.task.threshold = judging.threshold();
      result_.task.description = FormatString("no labels; agreement on output '{}'", judged);
      return absl::OkStatus();
    }
    if (kind == OutputLoss::KIND_BINARY) judging.set_task(Judging::TASK_BINARY);
    MP_ASSIGN_OR_RETURN(result_.task, ResolveTask(judging, outputs_, values_, batch_));
    if (kind == OutputLoss::KIND_UNSPECIFIED) return ForgetRegression();
    const bool binary = kind == OutputLoss::KIND_BINARY;
    if (result_.task.output == judged && (result_.task.class_axis < 0) == binary) {
      return absl::OkStatus();
    }
    return Error(ERROR_REASON_DATA_INVALID,
                 FormatString("labels of shape {} do not fit output '{}' of shape {}, which is "
                              "told to hold {}",
                              batch_.labels.has_value() ? ShapeText(*batch_.labels) : "[]", judged,
                              ShapeText(values_.at(judged)), std::string(NameOf(kind))))
        .With("input", "labels")
        .Remedy(FormatString("{}; or say task: none under judging to ignore them",
                             binary ? "labels need the output's shape, 0 or 1 for each score"
                                    : "labels need the output's shape without its class axis"));
  }

  // Among the outputs that nothing is told of.
  absl::Status GuessTask() {
    std::vector<ValueInfo> open;
    bool first_is_open = true, any = false;
    for (const ValueInfo& output : outputs_) {
      const bool told = Told(output.name) != OutputLoss::KIND_UNSPECIFIED;
      if (!told) open.push_back(output);
      if (IsFloat(output.name) && !any) first_is_open = !told;
      any |= IsFloat(output.name);
    }
    // Without labels later outputs are often states and features, whose largest element says nothing.
    const bool some =
        std::ranges::any_of(open, [&](const ValueInfo& output) { return IsFloat(output.name); });
    if (training_.outputs().empty() || (some && (first_is_open || labels_count()))) {
      auto task = ResolveTask(judging_, open, values_, batch_);
      if (task.ok()) {
        result_.task = *std::move(task);
        return ForgetRegression();
      }
      // Labels that fit none of the outputs that are left are about one that is told to hold no classes.
      const bool unfit =
          ReasonOf(task.status()) == ERROR_REASON_DATA_INVALID && !training_.outputs().empty();
      if (!unfit) return task.status();
    }
    result_.task = TaskSettings();
    result_.task.description =
        labels_count() ? "no output has classes, so labels are not used" : "no output has classes";
    return absl::OkStatus();
  }

  // One score for each label was guessed to be a binary decision: labels other than 0 and 1 show that it is a regression.
  absl::Status ForgetRegression() {
    const bool guessed =
        result_.task.guessed && result_.task.class_axis < 0 && !result_.task.output.empty();
    if (!guessed || !batch_.labels.has_value()) return absl::OkStatus();
    const Numbers labels(*batch_.labels);
    for (uint64_t i = 0; i < batch_.labels->element_count(); ++i) {
      if (labels[i] <= 1) continue;
      const std::string output = result_.task.output;
      result_.task = TaskSettings();
      result_.task.description = FormatString(
          "labels are numbers such as {}, not 0 and 1: output '{}' is compared with the original's "
          "only",
          labels[i], output);
      return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  void ListOutputs() {
    const bool guess = judging_.task() != Judging::TASK_NONE;
    bool some = false;
    for (const ValueInfo& info : outputs_) {
      if (!IsFloat(info.name)) continue;
      OutputKind& output = result_.outputs.emplace_back();
      output.output = info.name;
      const OutputLoss::Kind told = Told(info.name);
      const bool judged = info.name == result_.task.output;
      const bool decides =
          HasDecisions(told) || (told == OutputLoss::KIND_UNSPECIFIED && guess && judged);
      if (!decides) {
        output.loss = told == OutputLoss::KIND_EMBEDDING ? TrainTarget::LOSS_COSINE
                                                         : TrainTarget::LOSS_SQUARES;
      } else if (judged ? result_.task.class_axis < 0 : told == OutputLoss::KIND_BINARY) {
        output.loss = TrainTarget::LOSS_BINARY;
      } else {
        output.loss = TrainTarget::LOSS_CLASSES;
        output.class_axis =
            judged ? result_.task.class_axis : UsualClassAxis(values_.at(info.name));
      }
      output.labels = judged && decides && result_.task.task != Judging::TASK_NONE;
      // Where some outputs are told of or decide, the others (features, states) follow from the same weights.
      output.trained = decides || told != OutputLoss::KIND_UNSPECIFIED;
      some |= output.trained;
      if (told != OutputLoss::KIND_UNSPECIFIED) {
        result_.task.description +=
            FormatString("; output '{}' holds {}", info.name, std::string(NameOf(told)));
      }
    }
    if (some) return;
    for (OutputKind& output : result_.outputs) output.trained = true;
  }

  const Training& training_;
  const Judging& judging_;
  const std::vector<ValueInfo>& outputs_;
  const TensorMap& values_;
  const Batch& batch_;
  const bool joined_;
  OutputKinds result_;
};

}  // namespace

absl::Status ValidateOutputs(const google::protobuf::RepeatedPtrField<OutputLoss>& outputs,
                             std::string_view field) {
  std::set<std::string> names;
  for (int i = 0; i < outputs.size(); ++i) {
    const auto refuse = [&](std::string_view name, std::string_view rule) {
      const std::string path = FormatString("{}[{}].{}", field, i, name);
      return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} {}", path, rule))
          .With("field", path);
    };
    if (outputs[i].kind() == OutputLoss::KIND_UNSPECIFIED) {
      return refuse("kind", "must be one of classes, binary, values and embedding");
    }
    if (!names.insert(outputs[i].output()).second) {
      return refuse("output", FormatString("names '{}' a second time", outputs[i].output()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<OutputKinds> ResolveOutputs(const Training& training, const Judging& judging,
                                           const std::vector<ValueInfo>& outputs,
                                           const TensorMap& first_outputs, const Batch& first_batch,
                                           bool joined) {
  return Resolving(training, judging, outputs, first_outputs, first_batch, joined).Resolve();
}

}  // namespace modelpress
