// Building an ONNX model while reading another format: nodes, constants and names. Every reader that translates operator
// by operator stands on it.
//
// Values are named as the source names them; what a translation adds in between is "<source name>/<Operator>". Constants
// of subgraphs go to the main graph, where every subgraph sees them, and equal small ones are made once. Not thread-safe.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "core/model/model.h"

namespace modelpress::import {

// An attribute of a node under construction.
struct Attribute {
  std::string_view name;
  std::variant<int64_t, float, std::string, std::vector<int64_t>, std::vector<float>,
               std::vector<std::string>, onnx::GraphProto>
      value;
};
using Attributes = std::vector<Attribute>;
using Names = std::vector<std::string>;

// The model being made, shared by the builders of its graphs.
class ModelBuilder {
 public:
  explicit ModelBuilder(Scratch* scratch) : arena_(scratch) {}

  Model& model() { return model_; }
  WeightArena& arena() { return arena_; }
  // A name that no value or node of the model has: `base`, or `base_1`, ... Values and nodes are apart.
  std::string UniqueValue(std::string_view base) { return Unique(base, &values_); }
  std::string UniqueNode(std::string_view base) { return Unique(base, &nodes_); }

  // Constants; each returns its name. Those without a name are shared where type, shape and bytes are equal.
  std::string Constant(DataType type, std::span<const int64_t> dims,
                       std::span<const std::byte> bytes);
  std::string Int64s(std::span<const int64_t> values);
  std::string Int64s(std::initializer_list<int64_t> values) {
    return Int64s(std::span(values.begin(), values.size()));
  }
  std::string Int64(int64_t value);
  std::string Int32(int32_t value);
  std::string Float(float value);
  std::string Floats(std::span<const float> values, std::span<const int64_t> dims);
  std::string Bool(bool value);
  // `value` as a scalar of the type; for types with a fixed size of whole bytes.
  std::string ScalarOf(DataType type, double value);
  // A named constant: bytes that are in a file already are referred to, others copied into the arena.
  absl::StatusOr<std::string> Weight(std::string_view name, DataType type,
                                     std::span<const int64_t> dims, const WeightRef& bytes);
  absl::StatusOr<std::string> Weight(std::string_view name, DataType type,
                                     std::span<const int64_t> dims,
                                     std::span<const std::byte> bytes);
  // The initializer of that name; null if there is none. Valid until the next constant is made.
  const onnx::TensorProto* FindConstant(const std::string& name) const;
  // What a value is called now: renaming leaves the old name valid for whoever holds it.
  const std::string& Current(const std::string& value) const;
  // The integers of a constant of an integer type; false if `name` is none.
  bool ConstantInts(const std::string& name, std::vector<int64_t>* values) const;

 private:
  static std::string Unique(std::string_view base, absl::flat_hash_map<std::string, int>* used);

  Model model_;
  WeightArena arena_;
  absl::flat_hash_map<std::string, int> values_, nodes_;
  std::map<std::string, std::string> shared_;  // type, dims and bytes -> name
  absl::flat_hash_map<std::string, int> initializers_;
  friend class GraphBuilder;
  absl::flat_hash_set<std::string> read_;  // by a node of any graph
  absl::flat_hash_map<std::string, std::string> renamed_;
};

// One graph: the main one, or a subgraph of If or Loop.
class GraphBuilder {
 public:
  GraphBuilder(ModelBuilder* model, onnx::GraphProto* graph) : model_(*model), graph_(*graph) {}

  ModelBuilder& model() { return model_; }
  onnx::GraphProto& graph() { return graph_; }

  // What the next nodes are named after.
  void SetScope(std::string_view name) { scope_ = name; }
  const std::string& scope() const { return scope_; }

  // Adds a node of the default domain; returns the name of its (first) output. "" is an absent optional input; absent
  // ones at the end are left out.
  std::string Add(std::string_view op, Names inputs, Attributes attributes = {});
  Names AddMany(std::string_view op, Names inputs, Attributes attributes, int outputs);
  // Gives a value that a node of this graph has just made the name `wanted` (made unique), unless something else has read
  // it; then, and for values that no node of this graph made, an Identity is added if `must`, else the value keeps its
  // name. Returns the name it has now.
  std::string Rename(const std::string& value, std::string_view wanted, bool must);

  // Gives the Gemm of two inputs that makes `value` the third one, what it adds, if that is there before it. False, and
  // nothing is changed, where another node makes the value or `added` comes too late.
  bool AddToGemm(const std::string& value, const std::string& added);

  // Makes the Gather of one constant index that makes `value` keep the axis, with an extent of 1, unless something has read
  // the value. False, and nothing is changed, where another node makes it.
  bool KeepGatheredAxis(const std::string& value);

  // A value as an output of the graph: under its wanted name, by an Identity where no node of this graph makes it or where
  // it is an output already (`again`). Returns its name.
  std::string AsOutput(const std::string& value, std::string_view wanted, bool again);

  // Whether a node of this graph makes the value, one from number `first` on.
  bool Makes(const std::string& value, int first = 0) const {
    const auto found = producer_.find(model_.Current(value));
    return found != producer_.end() && found->second >= first;
  }

  // Shorthands. Constants are folded.
  std::string Transpose(const std::string& value, std::vector<int64_t> perm);
  // 0 is an extent of 0, or with `copy_zeros` the input's.
  std::string Reshape(const std::string& value, std::vector<int64_t> dims, bool copy_zeros = false);
  std::string Cast(const std::string& value, DataType type);
  // Along axis 0 .. rank-1: value[..., start:end:step, ...].
  std::string Slice(const std::string& value, std::vector<int64_t> starts,
                    std::vector<int64_t> ends, std::vector<int64_t> axes,
                    std::vector<int64_t> steps = {});

 private:
  ModelBuilder& model_;
  onnx::GraphProto& graph_;
  std::string scope_;
  void Renamed(const std::string& value, const std::string& name);

  // Number of the node that makes a value.
  absl::flat_hash_map<std::string, int> producer_;
};

}  // namespace modelpress::import
