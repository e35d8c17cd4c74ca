// Graph helpers: scopes, uses, order, dead code, shape tensors.
#include <algorithm>
#include <random>

#include "core/base/status.h"
#include "core/model/graph.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using testing::ParseProto;
using ::testing::UnorderedElementsAre;

constexpr char kWithSubgraph[] = R"(
  <ir_version: 8, opset_import: ["" : 17]>
  agraph (float[4, 4] x, bool flag) => (float[4, 4] y)
  <float[4, 4] W = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, float[1] unread = {0}>
  {
    k = Constant <value = float[1] {2}> ()
    a = MatMul(x, W)
    dead = Relu(a)
    y = If (flag) <
      then_branch = then_graph () => (float[4, 4] t) { t = MatMul(a, W) },
      else_branch = else_graph () => (float[4, 4] e) { deep = Mul(a, k)  e = Identity(deep) }
    >
  })";

std::vector<std::string> NodeNames(const onnx::GraphProto& graph) {
  std::vector<std::string> names;
  for (const auto& node : graph.node()) names.push_back(node.op_type());
  return names;
}

TEST(GraphIndex, ResolvesScopes) {
  onnx::ModelProto model = ParseProto(kWithSubgraph);
  onnx::GraphProto& graph = *model.mutable_graph();
  onnx::GraphProto& then_graph = *graph.mutable_node(3)->mutable_attribute(0)->mutable_g();
  onnx::GraphProto& else_graph = *graph.mutable_node(3)->mutable_attribute(1)->mutable_g();
  const GraphIndex index(model);

  EXPECT_EQ(index.Uses(graph, "W").size(), 2);
  EXPECT_EQ(index.Uses(then_graph, "W").size(), 2);
  EXPECT_EQ(index.Uses(graph, "W")[1].graph, &then_graph);
  EXPECT_EQ(index.Uses(graph, "W")[1].input, 1);
  EXPECT_EQ(index.Uses(graph, "nothing").size(), 0);
  EXPECT_EQ(index.Producer(else_graph, "a"), graph.mutable_node(1));
  EXPECT_EQ(index.Producer(graph, "deep"), nullptr);  // not visible outside its body
  EXPECT_EQ(index.Producer(else_graph, "deep"), else_graph.mutable_node(0));
  EXPECT_EQ(index.Producer(graph, "x"), nullptr);
  EXPECT_EQ(index.Constant(then_graph, "W"), graph.mutable_initializer(0));
  EXPECT_EQ(index.Constant(else_graph, "k"),
            graph.mutable_node(0)->mutable_attribute(0)->mutable_t());
  EXPECT_EQ(index.Constant(graph, "a"), nullptr);
  EXPECT_EQ(index.DefiningGraph(then_graph, "a"), &graph);
  EXPECT_EQ(index.DefiningGraph(then_graph, "t"), &then_graph);
  EXPECT_TRUE(index.IsGraphOutput(graph, "y"));
  EXPECT_TRUE(index.IsGraphOutput(else_graph, "e"));
  EXPECT_FALSE(index.IsGraphOutput(graph, "a"));
  EXPECT_EQ(index.Parent(then_graph), &graph);
  EXPECT_EQ(index.Parent(graph), nullptr);
}

TEST(GraphIndex, OverridableInitializerIsNoConstant) {
  onnx::ModelProto model = ParseProto(kWithSubgraph);
  model.mutable_graph()->add_input()->set_name("W");
  const GraphIndex index(model);
  EXPECT_EQ(index.Constant(model.graph(), "W"), nullptr);
}

TEST(ForEachTensor, FindsEveryPlace) {
  onnx::ModelProto model = ParseProto(kWithSubgraph);
  onnx::FunctionProto* function = model.add_functions();
  onnx::NodeProto* node = function->add_node();
  node->set_op_type("Constant");
  node->add_output("c");
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name("value");
  attribute->mutable_t()->set_name("in_function");
  auto* sparse = model.mutable_graph()->add_sparse_initializer();
  sparse->mutable_values()->set_name("sparse");
  sparse->mutable_indices()->set_name("sparse_indices");
  std::vector<std::string> names;
  ForEachTensor(model, [&](const TensorSite& site) {
    names.push_back(site.value_name.empty() ? site.tensor->name() : site.value_name);
  });
  EXPECT_THAT(names, UnorderedElementsAre("W", "unread", "k", "c", "sparse", "sparse_indices"));
}

TEST(RemoveDead, TakesNodesAndTensorsThatNobodyReads) {
  onnx::ModelProto model = ParseProto(kWithSubgraph);
  EXPECT_EQ(RemoveDead(model), 2);  // Relu, "unread"
  EXPECT_THAT(NodeNames(model.graph()), ElementsAre("Constant", "MatMul", "If"));
  ASSERT_EQ(model.graph().initializer_size(), 1);
  EXPECT_EQ(model.graph().initializer(0).name(), "W");
  EXPECT_EQ(RemoveDead(model), 0);
}

TEST(RemoveDead, TakesChainsAndWhatOnlyTheyRead) {
  onnx::ModelProto model = ParseProto(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[1] x) => (float[1] y) <float[1] w = {1}, float[1] v = {2}> {
      a = Add(x, w)
      b = Relu(a)
      c = Relu(b)
      y = Add(x, v)
    })");
  EXPECT_EQ(RemoveDead(model), 4);
  EXPECT_THAT(NodeNames(model.graph()), ElementsAre("Add"));
  EXPECT_EQ(model.graph().initializer(0).name(), "v");
}

TEST(RemoveDead, KeepsTheDefaultOfAnInput) {
  onnx::ModelProto model = ParseProto(kWithSubgraph);
  model.mutable_graph()->add_input()->set_name("unread");
  RemoveDead(model);
  EXPECT_EQ(model.graph().initializer_size(), 2);
}

TEST(ReplaceAllUses, ReachesSubgraphsButNotHiddenNames) {
  onnx::ModelProto model = ParseProto(kWithSubgraph);
  onnx::GraphProto& graph = *model.mutable_graph();
  onnx::GraphProto& else_graph = *graph.mutable_node(3)->mutable_attribute(1)->mutable_g();
  else_graph.add_initializer()->set_name("a");
  ReplaceAllUses(graph, "a", "b");
  EXPECT_EQ(graph.node(2).input(0), "b");
  EXPECT_EQ(graph.node(3).attribute(0).g().node(0).input(0), "b");
  EXPECT_EQ(else_graph.node(0).input(0), "a");
  ReplaceAllUses(graph, "y", "z");
  EXPECT_EQ(graph.output(0).name(), "z");
}

TEST(UniqueNames, AvoidsEverythingInUse) {
  onnx::ModelProto model = ParseProto(kWithSubgraph);
  UniqueNames names(model);
  EXPECT_EQ(names.Make("fresh"), "fresh");
  EXPECT_EQ(names.Make("fresh"), "fresh_1");
  EXPECT_EQ(names.Make("W"), "W_1");
  EXPECT_EQ(names.Make("deep"), "deep_1");  // inside a subgraph
}

TEST(InsertBefore, PutsNodesAtThePosition) {
  onnx::ModelProto model = ParseProto(kWithSubgraph);
  std::vector<onnx::NodeProto> nodes(2);
  nodes[0].set_op_type("First");
  nodes[1].set_op_type("Second");
  const onnx::NodeProto* relu = &model.graph().node(2);
  InsertBefore(*model.mutable_graph(), 1, nodes);
  EXPECT_THAT(NodeNames(model.graph()),
              ElementsAre("Constant", "First", "Second", "MatMul", "Relu", "If"));
  EXPECT_EQ(&model.graph().node(4), relu);
}

// A chain of diamonds with random node order sorts into a valid order; a valid order stays.
TEST(SortTopologically, AnyShuffleBecomesValid) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    onnx::ModelProto model = ParseProto(kWithSubgraph);
    auto& nodes = *model.mutable_graph()->mutable_node();
    nodes.Clear();
    const int count = 50;
    for (int i = 0; i < count; ++i) {
      onnx::NodeProto* node = nodes.Add();
      node->set_op_type("Add");
      node->add_output("v" + std::to_string(i));
      for (int k = 0; k < 2; ++k) {
        node->add_input(i == 0 ? "x" : "v" + std::to_string(random() % i));
      }
    }
    onnx::ModelProto sorted = model;
    ASSERT_TRUE(SortTopologically(sorted).ok());
    EXPECT_EQ(sorted.SerializeAsString(), model.SerializeAsString()) << "seed " << seed;

    std::shuffle(nodes.pointer_begin(), nodes.pointer_end(), random);
    ASSERT_TRUE(SortTopologically(model).ok()) << "seed " << seed;
    absl::flat_hash_set<std::string> made = {"x"};
    for (const onnx::NodeProto& node : model.graph().node()) {
      for (const std::string& input : node.input()) EXPECT_TRUE(made.contains(input)) << seed;
      made.insert(node.output(0));
    }
  }
}

TEST(SortTopologically, SubgraphReadingsCount) {
  onnx::ModelProto model = ParseProto(kWithSubgraph);
  auto& nodes = *model.mutable_graph()->mutable_node();
  std::reverse(nodes.pointer_begin(), nodes.pointer_end());
  ASSERT_TRUE(SortTopologically(model).ok());
  EXPECT_EQ(model.graph().node(3).op_type(), "If");
}

TEST(SortTopologically, NamesANodeOfTheCycle) {
  onnx::ModelProto model = ParseProto(kWithSubgraph);
  model.mutable_graph()->mutable_node(1)->set_name("looped");
  model.mutable_graph()->mutable_node(1)->set_input(0, "dead");
  const absl::Status status = SortTopologically(model);
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_MODEL_MALFORMED);
  EXPECT_EQ(DetailOf(status).metadata().at("node"), "looped");
}

TEST(ShapeTensors, FindsConstantsOfShapeArithmetic) {
  const onnx::ModelProto model = ParseProto(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[N, 6] x) => (float[A, B] y)
    <int64[2] shape = {-1, 3}, float[3, 3] weight = {1, 2, 3, 4, 5, 6, 7, 8, 9}, int64[1] two = {2},
     int64[1] zero = {0}, int64[2] axes_of_data = {0, 1}, float[6] bias = {1, 2, 3, 4, 5, 6}>
    {
      xb = Add(x, bias)
      r = Reshape(xb, shape)
      m = MatMul(r, weight)
      s = Shape(m)
      n = Gather(s, zero)
      n2 = Mul(n, two)
      w = Constant <value = int64[1] {3}> ()
      target = Concat <axis = 0> (n2, w)
      y = Expand(m, target)
    })");
  absl::flat_hash_set<std::string> names;
  const auto found = ShapeTensors(model);
  for (const auto& tensor : model.graph().initializer()) {
    if (found.contains(&tensor)) names.insert(tensor.name());
  }
  EXPECT_THAT(names, UnorderedElementsAre("shape", "two", "zero"));
  EXPECT_TRUE(found.contains(&model.graph().node(6).attribute(0).t()));
}

}  // namespace
}  // namespace modelpress
