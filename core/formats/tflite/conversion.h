// A conversion under way: what the graphs of one TensorFlow Lite model share, and one graph of it.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/formats/import/graph_builder.h"
#include "core/formats/import/refusals.h"
#include "core/formats/tflite/graph.h"

namespace modelpress::tflite {

// A value that lives from one inference to the next: an input with zeros as its default, and an output.
struct State {
  std::string input;   // ONNX name; "": not read or written by anything yet
  std::string output;  // what it is now, "": what came in
  DataType type = DataType::kFloat;
  std::vector<int64_t> shape;
};

// What all graphs of the model share.
struct Conversion {
  Conversion(const SourceModel& model, const JobContext& job)
      : source(model), context(job), builder(job.scratch) {}

  const SourceModel& source;
  const JobContext& context;
  import::ModelBuilder builder;
  int main_graph = 0;
  import::Refusals refusals;
  // Constants that were added already, by graph and tensor; dense and widened ones that replace what the file holds.
  std::map<std::pair<int, int>, std::string> constants;
  std::deque<SourceTensor> replaced;
  // Constants in another order, by where their bytes are (file, offset, length), type, shape and permutation.
  using Permuted = std::tuple<const MappedFile*, uint64_t, uint64_t, TensorType,
                              std::vector<int64_t>, std::vector<int64_t>>;
  std::map<Permuted, std::string> permuted;
  // Resource variables by "container/shared_name", state tensors of the main graph by "tensor N"; in order of first use.
  std::map<std::string, State> variables;
  std::vector<std::string> state_order;
  // Variables that the main graph writes; filled when it is first asked for.
  std::optional<std::set<std::string>> written;
  std::vector<std::string> notes;
  int depth = 0;            // graphs inside of graphs
  int loops = 0;            // bodies of loops among them
  uint64_t translated = 0;  // operators so far; a graph that is inlined twice counts twice
};

// One graph of the source being translated into one graph of the result. A graph that is inlined into another has a scope
// of its own over the same builder.
class GraphScope {
 public:
  GraphScope(Conversion* conversion, int graph_index, import::GraphBuilder* builder);

  Conversion& conversion() { return conversion_; }
  import::GraphBuilder& builder() { return builder_; }
  const SourceGraph& graph() const { return graph_; }
  int graph_index() const { return graph_index_; }

  // The tensor as it counts: a constant that was made dense, or that reaches this tensor through DEQUANTIZE, is itself.
  const SourceTensor& Tensor(int index) const { return *effective_[index]; }
  void ReplaceTensor(int index, const SourceTensor* tensor) { effective_[index] = tensor; }

  // The operator of this graph that makes the tensor; null for inputs and constants.
  const SourceOperator* MakerOf(int tensor) const { return makers_[tensor]; }
  // The same, if the tensor is no output of the graph and nothing reads it but one input of one operator; else null.
  const SourceOperator* OnlyReadFrom(int tensor) const {
    return reads_[tensor] == 1 ? makers_[tensor] : nullptr;
  }

  // The ONNX value of a tensor as the source stores it (codes where it is quantized). Constants are added when they are
  // first asked for.
  absl::StatusOr<std::string> Raw(int tensor);
  // The same in real numbers: through a DequantizeLinear where it is quantized, a Cast where it is a large float16 constant.
  absl::StatusOr<std::string> Real(int tensor);
  // A constant or other value in real numbers with its axes permuted. Codes of constants are permuted where they lie.
  absl::StatusOr<std::string> Permuted(int tensor, const std::vector<int64_t>& perm);
  void Bind(int tensor, std::string value) { values_[tensor] = std::move(value); }
  bool IsBound(int tensor) const { return !values_[tensor].empty(); }

  // Scale and zero point as constants of the model, zero points of type `type`.
  absl::StatusOr<std::pair<std::string, std::string>> QuantizationConstants(
      const Quantization& quantization, DataType type);
  absl::StatusOr<std::string> Dequantize(const std::string& codes, const SourceTensor& tensor,
                                         int axis);
  absl::StatusOr<std::string> Quantize(const std::string& real, const SourceTensor& tensor);
  // Adds a QuantizeLinear or DequantizeLinear, without a name of its own.
  std::string AddUnnamed(std::string_view op, import::Names inputs, import::Attributes attributes);

  // NHWC to NCHW and the like for any number of spatial axes; made once for each value.
  std::string ChannelsFirst(const std::string& value, int rank);
  std::string ChannelsLast(const std::string& value, int rank);

  // Translates every operator of the graph; the inputs are bound. Operators that cannot be translated are noted in the
  // conversion's refusals, and the status is OK.
  absl::Status TranslateOperators();

 private:
  absl::StatusOr<std::string> AddConstant(int tensor);
  // Initializer of a constant's codes or numbers, axes permuted; float16 becomes float32 unless it StaysHalf.
  absl::StatusOr<std::string> AddPermuted(const SourceTensor& tensor,
                                          const std::vector<int64_t>& perm);

  Conversion& conversion_;
  const SourceGraph& graph_;
  int graph_index_;
  import::GraphBuilder& builder_;
  std::vector<const SourceTensor*> effective_;
  std::vector<const SourceOperator*> makers_;
  std::vector<int> reads_;
  std::vector<std::string> values_;
  std::map<int, std::string> reals_;
  std::map<std::string, std::string> channels_first_;
};

// Whether values of the tensor are codes of real numbers.
bool IsQuantized(const SourceTensor& tensor);
// Whether a constant is stored as float16, with a Cast behind it: small ones are widened, which saves the node.
bool StaysHalf(const SourceTensor& tensor);
// Same type, scales and zero points: codes can be moved from one to the other as they are.
bool SameCodes(const SourceTensor& a, const SourceTensor& b);

// A dense copy of a sparse constant, kept by the conversion. MODEL_MALFORMED if its indices do not fit its shape.
absl::StatusOr<const SourceTensor*> Densify(Conversion& conversion, const SourceTensor& sparse);

// {0, rank-1, 1, ..., rank-2} and its inverse.
std::vector<int64_t> ChannelsFirstPermutation(int rank);
std::vector<int64_t> ChannelsLastPermutation(int rank);

}  // namespace modelpress::tflite
