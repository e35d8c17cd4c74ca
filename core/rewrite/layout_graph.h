// A graph as its layout is chosen: values in groups, each group in one order of axes. See layout.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/rewrite/layout_rules.h"
#include "core/rewrite/turn_constant.h"
#include "core/rewrite/value_shapes.h"

namespace modelpress {

class LayoutGraph final : public LayoutView {
 public:
  struct PortUse {
    int node = -1;
    int port = -1;
  };

  struct Value {
    std::string name;
    const ValueShape* shape = nullptr;
    double bytes = 0;
    PortUse producer;  // none for inputs of the graph and what outer graphs define
    std::vector<PortUse> uses;
    // Read by its name: an output of the graph, or read by a subgraph.
    bool named = false;
    int group = -1;
  };

  struct Node {
    const onnx::NodeProto* proto = nullptr;
    LayoutRule rule;
    std::vector<int> inputs, outputs;  // values; -1: absent, constant or of unknown shape
    Permutation transpose;             // of a Transpose
  };

  // `shapes`: of this graph, then of those around it. Everything outlives this.
  LayoutGraph(const onnx::GraphProto& graph, const ConstantTurner& constants,
              std::vector<const GraphShapes*> shapes);

  // Finds the groups and the order of each that moves the fewest bytes.
  void Choose();

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Value>& values() const { return values_; }
  // The number of a value; nullopt for constants and values of unknown shape.
  std::optional<int> Find(const std::string& name) const;
  // The order in which a value is stored.
  Permutation Order(int value) const {
    return Order(values_[value], orders_[values_[value].group]);
  }

  const ValueShape* Shape(const std::string& value) const override;
  std::optional<std::vector<int64_t>> Ints(const std::string& value) const override {
    return constants_.Ints(value);
  }
  bool IsConstant(const std::string& value) const override { return constants_.IsConstant(value); }
  std::vector<const onnx::NodeProto*> DenseReaders(const std::string& value) const override;

 private:
  int ValueNumber(const std::string& name);
  void Collect(const onnx::GraphProto& graph);
  void MarkNamed(const std::string& name);
  void MarkCaptured(const onnx::GraphProto& graph);
  int Root(int value);
  void Group();
  // A group's order for a value of it: channels-first has a form for every rank. Empty order: the original one.
  Permutation Order(const Value& value, const Permutation& order) const;
  double Cost(int group, const Permutation& order) const;
  std::vector<Permutation> Candidates(int group) const;

  const ConstantTurner& constants_;
  std::vector<const GraphShapes*> shapes_;
  std::vector<Node> nodes_;
  std::vector<Value> values_;
  absl::flat_hash_map<std::string, int> numbers_;
  // Null stands for a reader that is no node of this graph.
  absl::flat_hash_map<std::string, std::vector<const onnx::NodeProto*>> readers_;
  std::vector<int> parents_;
  std::vector<std::vector<int>> members_;
  std::vector<Permutation> orders_;  // of groups; empty: the original
};

// What is left of Transpose `perm` between an input and an output in these orders.
Permutation RestOfTranspose(const Permutation& perm, const Permutation& in, const Permutation& out);

}  // namespace modelpress
