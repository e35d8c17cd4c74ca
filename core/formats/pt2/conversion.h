// A conversion under way: what the graphs of one exported program share, and one graph of it.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/formats/import/graph_builder.h"
#include "core/formats/import/refusals.h"
#include "core/formats/pt2/program.h"

namespace modelpress::pt2 {

class OperatorContext;

// What all graphs of the program share.
struct Conversion {
  Conversion(const Program& source, const JobContext& job)
      : program(source), context(job), builder(job.scratch) {}

  const Program& program;
  const JobContext& context;
  import::ModelBuilder builder;
  import::Refusals refusals;
  // Extents that the options fix, by symbol.
  std::map<std::string, int64_t, std::less<>> symbols;
  // Weights that were added already, by where their bytes are, their type and shape: tied ones are one.
  std::map<std::string, std::string> weights;
  std::vector<std::string> notes;
  int depth = 0;                                          // graphs inside of graphs
  double constant_elements = 0;                           // of constants that no weight is
  std::set<std::string, std::less<>> zeros;               // values that are 0 in every element
  std::map<std::string, std::string, std::less<>> fills;  // values of one number, and the number
  // Parameters and buffers, by their names in the module, and the initializers that they are: what callers may give anew,
  // or the module change.
  std::set<std::string, std::less<>> module_weights;
  std::set<std::string> variables;
};

// One graph of the source being translated into one graph of the result.
//
// Exported programs may write into tensors (add_, copy_), also through views of them. Here every value is made once: a
// write gives the tensor's name a new value, undoes the views between it and the tensor that they view to give that one
// its new value, and makes the other views of it anew.
class GraphScope {
 public:
  GraphScope(Conversion* conversion, const Graph* graph, import::GraphBuilder* builder);

  Conversion& conversion() { return conversion_; }
  import::GraphBuilder& builder() { return builder_; }
  const Graph& graph() const { return graph_; }

  // What is known of a tensor, extents that the options fix filled in. Names are those of the graph.
  const TensorMeta& Meta(std::string_view name) const;
  // An integer value of the graph, if it is a number.
  std::optional<int64_t> Integer(std::string_view name) const;

  // The ONNX value of a name of the graph. Weights are added when they are first asked for.
  absl::StatusOr<std::string> Value(const std::string& name);
  void Bind(const std::string& name, std::string value);
  // How often nodes and outputs of the graph read the name.
  int Reads(std::string_view name) const;
  bool IsRead(std::string_view name) const { return Reads(name) > 0; }
  // The weight that the name is, not changed so far; null for everything else.
  const NamedTensor* Weight(const std::string& name) const;
  bool IsBound(const std::string& name) const { return values_.contains(name); }
  // The name is that weight of the program.
  void BindWeight(const std::string& name, const std::string& weight) {
    weight_names_[name] = weight;
  }

  // The initializer behind a name that BindWeight bound; "" if nothing has asked for it.
  std::string WeightValue(const std::string& name) const;

  // An extent as an int64 vector of one element; "" where nothing in the graph has it.
  std::string ExtentValue(const Extent& extent);
  // Shapes as int64 vectors, of constants where they are numbers.
  absl::StatusOr<std::string> ShapeValue(const std::vector<Extent>& extents);

  // A view: `node` makes `output` (its output number `index`) of the elements of `parent`.
  void AddView(const std::string& output, const std::string& parent, const Node* node, int index);
  // `output` is another name for what `parent` is from now on.
  void AddAlias(const std::string& output, const std::string& parent);
  // The tensor of that name has another value from now on, and so has all that shares its elements.
  absl::Status Write(const std::string& name, const std::string& value);
  // Inputs of the graph that were written into.
  const std::set<std::string>& written_roots() const { return written_roots_; }

  // Translates every node; the inputs are bound. What cannot be translated is noted in the conversion's refusals, and the
  // status is OK.
  absl::Status TranslateNodes();

 private:
  struct View {
    std::string output;
    std::string parent;
    const Node* node = nullptr;  // null: an alias
    int index = 0;
  };
  const View* FindView(const std::string& output) const;
  absl::Status Translate(const Node& node, bool again);

  Conversion& conversion_;
  const Graph& graph_;
  import::GraphBuilder& builder_;
  std::map<std::string, TensorMeta, std::less<>> metas_;  // with extents filled in
  std::map<std::string, std::string> values_;
  std::map<std::string, std::string> weight_names_;
  std::map<std::string, std::string> weight_values_;
  std::map<std::string, std::string> extents_;
  std::map<std::string, int, std::less<>> reads_;
  std::vector<std::string> order_;  // tensors in the order in which they were bound
  std::vector<View> views_;         // in the order of the program
  std::map<std::string, size_t> view_numbers_;
  int64_t views_made_again_ = 0;
  std::set<std::string> written_roots_;
};

}  // namespace modelpress::pt2
