// Archives of exported programs: both layouts give the same model, and files that lie are refused with their reason.
#include <cstring>
#include <functional>

#include "core/base/status.h"
#include "core/formats/format.h"
#include "core/formats/pt2/expression.h"
#include "core/formats/pt2/graph_reader.h"
#include "core/formats/pt2/promotion.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modelpress/v1/recipe.pb.h"
#include "nlohmann/json.hpp"
#include "tests/support/model_builder.h"
#include "tests/support/pickle_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::RawEntry;
using testing::RawZip;

json Meta(const std::vector<int64_t>& dims, int dtype = 7) {
  json meta = {{"dtype", dtype},
               {"sizes", json::array()},
               {"strides", json::array()},
               {"storage_offset", {{"as_int", 0}}}};
  int64_t stride = 1;
  for (const int64_t dim : dims) meta["sizes"].push_back({{"as_int", dim}});
  for (size_t i = dims.size(); i-- > 0;) {
    meta["strides"].insert(meta["strides"].begin(), json{{"as_int", stride}});
    stride *= dims[i];
  }
  return meta;
}

json Tensor(const char* name) { return {{"as_tensor", {{"name", name}}}}; }

// y = linear(x [s0, 3], w [2, 3])
json Program() {
  json x = Meta({2, 3});
  x["sizes"][0] = {
      {"as_expr",
       {{"expr_str", "Symbol('s0', positive=True, integer=True)"}, {"hint", {{"as_int", 2}}}}}};
  json y = Meta({2, 2});
  y["sizes"][0] = x["sizes"][0];
  const json node = {
      {"target", "torch.ops.aten.linear.default"},
      {"inputs",
       {{{"name", "input"}, {"arg", Tensor("x")}}, {{"name", "weight"}, {"arg", Tensor("p_w")}}}},
      {"outputs", {Tensor("linear")}},
      {"metadata", {{"stack_trace", "somewhere"}}}};
  const json graph = {{"inputs", {Tensor("p_w"), Tensor("x")}},
                      {"outputs", {Tensor("linear")}},
                      {"nodes", {node}},
                      {"tensor_values", {{"p_w", Meta({2, 3})}, {"x", x}, {"linear", y}}},
                      {"sym_int_values", json::object()}};
  const json signature = {{"input_specs",
                           {{{"parameter", {{"arg", {{"name", "p_w"}}}, {"parameter_name", "w"}}}},
                            {{"user_input", {{"arg", Tensor("x")}}}}}},
                          {"output_specs", {{{"user_output", {{"arg", Tensor("linear")}}}}}}};
  return {{"graph_module", {{"graph", graph}, {"signature", signature}}},
          {"schema_version", {{"major", 8}, {"minor", 2}}},
          {"torch_version", "2.6.0"}};
}

const std::string& Weight() {
  static const std::string* const bytes = [] {
    auto* made = new std::string(24, '\0');
    for (int i = 0; i < 6; ++i) {
      const float value = static_cast<float>(i + 1);
      std::memcpy(made->data() + 4 * i, &value, 4);
    }
    return made;
  }();
  return *bytes;
}

std::string StateDict(const std::string& tensor) {
  return RawZip({{"archive/data.pkl", testing::Pickle(testing::PickleDict({{"w", tensor}}))},
                 {"archive/data/0", Weight()}});
}

std::vector<RawEntry> OldLayout(const std::string& program = Program().dump()) {
  return {{"serialized_exported_program.json", program},
          {"serialized_state_dict.pt",
           StateDict(testing::PickleTensor("FloatStorage", "0", 6, 0, {2, 3}, {3, 1}))},
          {"version", "8.2"}};
}

std::vector<RawEntry> NewLayout(const std::function<void(json&)>& spoil = nullptr) {
  json entry = {{"path_name", "weight_0"},
                {"is_param", true},
                {"use_pickle", false},
                {"tensor_meta", Meta({2, 3})}};
  json config = {{"config", {{"w", entry}}}};
  if (spoil) spoil(config["config"]["w"]);
  return {{"m/archive_format", "pt2"},
          {"m/models/model.json", Program().dump()},
          {"m/data/weights/model_weights_config.json", config.dump()},
          {"m/data/weights/weight_0", Weight()},
          {"m/data/constants/model_constants_config.json", R"({"config": {}})"}};
}

absl::StatusOr<Model> Read(const std::string& bytes, const Import& options = Import()) {
  static auto& job = *new testing::TestJob(1, uint64_t{256} << 20);
  const InputFiles files{.main = testing::MakeInput("model.pt2", bytes)};
  MP_ASSIGN_OR_RETURN(const Format* format, FormatRegistry::Get().Recognise(files));
  EXPECT_EQ(format->name(), "pt2");
  return format->Read(files, options, job.context());
}

TEST(Pt2Reader, BothLayoutsGiveTheSameModel) {
  const auto old_one = Read(RawZip(OldLayout())), new_one = Read(RawZip(NewLayout()));
  ASSERT_TRUE(old_one.ok()) << old_one.status();
  ASSERT_TRUE(new_one.ok()) << new_one.status();
  EXPECT_EQ(old_one->proto().SerializeAsString(), new_one->proto().SerializeAsString());
  const onnx::GraphProto& graph = old_one->proto().graph();
  ASSERT_EQ(graph.node_size(), 1);
  EXPECT_EQ(graph.node(0).op_type(), "Gemm");
  EXPECT_EQ(graph.input(0).name(), "x");
  EXPECT_EQ(graph.input(0).type().tensor_type().shape().dim(0).dim_param(), "s0");
  EXPECT_EQ(graph.output(0).name(), "linear");
  EXPECT_THAT(testing::Values(*old_one, *testing::FindInitializer(*old_one, "w")),
              ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(Pt2Reader, InputShapesFixWhatIsFree) {
  Import options;
  InputShape& shape = *options.add_input_shapes();
  shape.set_input("x");
  shape.add_extents(7);
  shape.add_extents(3);
  const auto model = Read(RawZip(OldLayout()), options);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->proto().graph().input(0).type().tensor_type().shape().dim(0).dim_value(), 7);
  EXPECT_EQ(model->proto().graph().output(0).type().tensor_type().shape().dim(0).dim_value(), 7);
  shape.set_extents(1, 4);
  EXPECT_EQ(ReasonOf(Read(RawZip(OldLayout()), options).status()), ERROR_REASON_RECIPE_INVALID);
  shape.set_input("z");
  EXPECT_EQ(ReasonOf(Read(RawZip(OldLayout()), options).status()), ERROR_REASON_RECIPE_INVALID);
}

TEST(Pt2Reader, OptionalTensorsOfVersionFiveAreBareNames) {
  json program = Program();
  program["schema_version"]["major"] = 5;
  const json nothing = {{"as_none", json::array()}};
  for (const json& written : {json("x"), json{{"name", "x"}}}) {
    const json tensor = {{"as_tensor", written}};
    program["graph_module"]["graph"]["nodes"][0]["inputs"][0]["arg"] = {
        {"as_optional_tensors", json::array({nothing, tensor})}};
    const auto parsed = pt2::ParseProgram(program.dump());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_THAT(parsed->graph.nodes[0].inputs[0].second.names, ElementsAre("", "x"));
  }
}

TEST(Pt2Reader, RefusesArchivesThatLie) {
  constexpr ErrorReason kMalformed = ERROR_REASON_MODEL_MALFORMED;
  struct Case {
    const char* name;
    ErrorReason reason;
    std::function<std::string()> make;
  };
  const auto old_with = [](const std::function<void(std::vector<RawEntry>&)>& spoil) {
    std::vector<RawEntry> entries = OldLayout();
    spoil(entries);
    return RawZip(entries);
  };
  const std::vector<Case> cases = {
      {"cut off", kMalformed,
       [] { return RawZip(OldLayout()).substr(0, 900) + "serialized_exported_program.json"; }},
      {"a name that climbs", kMalformed,
       [&] { return old_with([](auto& e) { e.push_back({"../evil", "x"}); }); }},
      {"a name that climbs inside", kMalformed,
       [&] { return old_with([](auto& e) { e.push_back({"a/../../evil", "x"}); }); }},
      {"an absolute name", kMalformed,
       [&] { return old_with([](auto& e) { e.push_back({"/etc/passwd", "x"}); }); }},
      {"a name twice", kMalformed,
       [&] { return old_with([](auto& e) { e.push_back({"version", "x"}); }); }},
      {"an empty name", kMalformed,
       [&] { return old_with([](auto& e) { e.push_back({"", "x"}); }); }},
      {"backslashes", kMalformed,
       [&] { return old_with([](auto& e) { e.push_back({"a\\b", "x"}); }); }},
      {"entries that overlap", kMalformed,
       [&] { return old_with([](auto& e) { e.push_back({"again", e[0].bytes, -1, -1, 0, 0}); }); }},
      {"a stored entry that expands", kMalformed,
       [&] { return old_with([](auto& e) { e[2].claimed_size = 1 << 30; }); }},
      {"a ZIP bomb", kMalformed,
       [&] { return old_with([](auto& e) { e[2].claimed_size = 1 << 30, e[2].method = 8; }); }},
      {"past the end", kMalformed,
       [&] {
         return old_with([](auto& e) { e[2].claimed_stored_size = e[2].claimed_size = 1 << 20; });
       }},
      {"an unknown compression", kMalformed,
       [&] { return old_with([](auto& e) { e[2].method = 12; }); }},
      {"no state dict", kMalformed,
       [&] { return old_with([](auto& e) { e.erase(e.begin() + 1); }); }},
      {"a state dict that is none", kMalformed,
       [&] { return old_with([](auto& e) { e[1].bytes = "PK"; }); }},
      {"a state dict without its storage", kMalformed,
       [&] {
         return old_with([](auto& e) {
           e[1].bytes = RawZip(
               {{"archive/data.pkl",
                 testing::Pickle(testing::PickleDict(
                     {{"w", testing::PickleTensor("FloatStorage", "0", 6, 0, {2, 3}, {3, 1})}}))}});
         });
       }},
      {"a weight of another shape", kMalformed,
       [&] {
         return old_with([](auto& e) {
           e[1].bytes = StateDict(testing::PickleTensor("FloatStorage", "0", 6, 0, {3, 2}, {2, 1}));
         });
       }},
      {"a weight of another type", kMalformed,
       [&] {
         return old_with([](auto& e) {
           e[1].bytes = StateDict(testing::PickleTensor("IntStorage", "0", 6, 0, {2, 3}, {3, 1}));
         });
       }},
      {"a forbidden call", ERROR_REASON_OP_UNSUPPORTED,
       [&] {
         return old_with([](auto& e) {
           e[1].bytes = StateDict(testing::PickleGlobal("os", "system") +
                                  testing::PickleText("id") + "\x85R");
         });
       }},
      {"JSON 10,000 deep", ERROR_REASON_MODEL_LIMIT,
       [] { return RawZip(OldLayout(std::string(10000, '[') + std::string(10000, ']'))); }},
      {"objects 10,000 deep", ERROR_REASON_MODEL_LIMIT,
       [] {
         std::string text;
         for (int i = 0; i < 10000; ++i) text += "{\"a\":";
         return RawZip(OldLayout(text + "1" + std::string(10000, '}')));
       }},
      {"no JSON", kMalformed, [] { return RawZip(OldLayout("{\"graph_module\": ")); }},
      {"an empty object", kMalformed, [] { return RawZip(OldLayout("{}")); }},
      {"a raw weight outside its file", kMalformed,
       [] {
         return RawZip(
             NewLayout([](json& w) { w["tensor_meta"]["storage_offset"] = {{"as_int", 1}}; }));
       }},
      {"a raw weight with huge strides", kMalformed,
       [] {
         return RawZip(NewLayout([](json& w) {
           w["tensor_meta"]["strides"] = {{{"as_int", int64_t{1} << 62}}, {{"as_int", 1}}};
         }));
       }},
      {"a raw weight that is missing", kMalformed,
       [] { return RawZip(NewLayout([](json& w) { w["path_name"] = "weight_1"; })); }},
      {"a raw weight elsewhere", kMalformed,
       [] { return RawZip(NewLayout([](json& w) { w["path_name"] = "../../archive_format"; })); }},
      {"a pickled weight", ERROR_REASON_OP_UNSUPPORTED,
       [] { return RawZip(NewLayout([](json& w) { w["use_pickle"] = true; })); }},
      {"a compiled package", ERROR_REASON_FORMAT_UNSUPPORTED,
       [] {
         return RawZip({{"m/archive_format", "pt2"},
                        {"m/data/aotinductor/model/x.so", "ELF"},
                        {"m/models/x", ""}});
       }},
      {"another schema", ERROR_REASON_FORMAT_UNSUPPORTED,
       [] {
         json program = Program();
         program["schema_version"]["major"] = 9;
         return RawZip(OldLayout(program.dump()));
       }},
  };
  for (const Case& test : cases) {
    const auto model = Read(test.make());
    EXPECT_EQ(ReasonOf(model.status()), test.reason) << test.name << ": " << model.status();
  }
}

TEST(Pt2Reader, RefusesGraphsThatAreNone) {
  struct Case {
    const char* name;
    std::function<void(json& program, json& graph)> spoil;
  };
  const auto node = [](json& graph) -> json& { return graph["nodes"][0]; };
  const std::vector<Case> cases = {
      {"read before it is made",
       [&](json&, json& g) { node(g)["inputs"][0]["arg"] = Tensor("linear"); }},
      {"an unknown name", [&](json&, json& g) { node(g)["inputs"][0]["arg"] = Tensor("nobody"); }},
      {"an output that nothing makes", [](json&, json& g) { g["outputs"][0] = Tensor("nobody"); }},
      {"a tensor without a meta", [](json&, json& g) { g["tensor_values"].erase("linear"); }},
      {"a negative extent",
       [](json&, json& g) { g["tensor_values"]["linear"]["sizes"][1] = {{"as_int", -1}}; }},
      {"an extent that is text",
       [](json&, json& g) { g["tensor_values"]["linear"]["sizes"][1] = "2"; }},
      {"100 axes",
       [](json&, json& g) { g["tensor_values"]["linear"]["sizes"] = json(100, {{"as_int", 1}}); }},
      {"no target", [&](json&, json& g) { node(g).erase("target"); }},
      {"an argument that is no union", [&](json&, json& g) { node(g)["inputs"][0]["arg"] = 3; }},
      {"an argument without a name", [&](json&, json& g) { node(g)["inputs"][0].erase("name"); }},
      {"a tensor argument without a name",
       [&](json&, json& g) { node(g)["inputs"][0]["arg"] = {{"as_tensor", json::object()}}; }},
      {"an integer of 80 bits",
       [&](json&, json& g) { node(g)["inputs"][0]["arg"] = json::parse(R"({"as_int": 1e30})"); }},
      {"nodes are an object", [](json&, json& g) { g["nodes"] = json::object(); }},
      {"a signature of other inputs",
       [](json& p, json&) { p["graph_module"]["signature"]["input_specs"].erase(0); }},
      {"a signature in another order",
       [](json& p, json&) {
         std::swap(p["graph_module"]["signature"]["input_specs"][0],
                   p["graph_module"]["signature"]["input_specs"][1]);
       }},
      {"a parameter without its name",
       [](json& p, json&) {
         p["graph_module"]["signature"]["input_specs"][0]["parameter"].erase("parameter_name");
       }},
      {"no signature", [](json& p, json&) { p["graph_module"].erase("signature"); }},
  };
  for (const Case& test : cases) {
    json program = Program();
    test.spoil(program, program["graph_module"]["graph"]);
    const auto model = Read(RawZip(OldLayout(program.dump())));
    EXPECT_EQ(ReasonOf(model.status()), ERROR_REASON_MODEL_MALFORMED)
        << test.name << ": " << model.status();
  }
}

TEST(Pt2Reader, ArgumentsThatMakeNoSenseAreRefusedAndNotFollowed) {
  struct Case {
    const char* target;
    json arguments;
  };
  const auto ints = [](std::vector<int64_t> values) { return json{{"as_ints", values}}; };
  const auto integer = [](int64_t value) { return json{{"as_int", value}}; };
  const int64_t huge = int64_t{1} << 62;
  for (const Case& test : std::vector<Case>{
           {"aten.permute.default", {{"dims", ints({0, 0})}}},
           {"aten.permute.default", {{"dims", ints({0, 5})}}},
           {"aten.permute.default", {{"dims", ints({})}}},
           {"aten.transpose.int", {{"dim0", integer(9)}, {"dim1", integer(0)}}},
           {"aten.movedim.intlist", {{"source", ints({0, 0})}, {"destination", ints({0, 1})}}},
           {"aten.unsqueeze.default", {{"dim", integer(-9)}}},
           {"aten.sum.dim_IntList", {{"dim", ints({huge})}}},
           {"aten.softmax.int", {{"dim", integer(-huge)}}},
           {"aten.slice.Tensor", {{"dim", integer(2)}}},
           {"aten.slice.Tensor", {{"dim", integer(0)}, {"step", integer(0)}}},
           {"aten.pad.default", {{"pad", ints({1})}}},
           {"aten.pad.default", {{"pad", ints({1, 1, 1, 1, 1, 1})}}},
           {"aten.pad.default", {{"pad", ints({huge, huge})}}},
           {"aten.max_pool1d.default", {{"kernel_size", ints({0})}}},
           {"aten.max_pool1d.default", {{"kernel_size", ints({2, 2})}}},
           {"aten.avg_pool1d.default", {{"kernel_size", ints({huge})}}},
           {"aten.avg_pool2d.default", {{"kernel_size", ints({2})}}},
           {"aten.unfold.default",
            {{"dimension", integer(1)}, {"size", integer(4)}, {"step", integer(1)}}},
           {"aten.unfold.default",
            {{"dimension", integer(1)}, {"size", integer(1)}, {"step", integer(0)}}},
           {"aten.eye.default", {{"n", integer(huge)}}},
           {"aten.tril_indices.default", {{"row", integer(huge)}, {"col", integer(huge)}}},
           {"aten.linspace.default",
            {{"start", integer(0)}, {"end", integer(1)}, {"steps", integer(huge)}}},
           {"aten.arange.start_step",
            {{"start", integer(0)}, {"end", integer(1)}, {"step", integer(0)}}},
           {"aten.hann_window.default", {{"window_length", integer(-1)}}},
           {"aten.diagonal.default", {{"dim1", integer(1)}, {"dim2", integer(1)}}},
           {"aten.rot90.default", {{"dims", ints({0})}}},
           {"aten.roll.default", {{"shifts", ints({1})}, {"dims", ints({0, 1})}}},
           {"aten.kthvalue.default", {{"k", integer(0)}}},
           {"aten.repeat.default", {{"repeats", ints({2})}}},
           {"aten.one_hot.default", json::object()},
           {"aten.lstm.input", json::object()},
           {"aten.conv2d.default", json::object()},
           {"aten.index.Tensor", {{"indices", {{"as_tensors", json::array()}}}}},
           {"aten.cat.default", {{"tensors", {{"as_tensors", json::array()}}}}},
           {"aten.stack.default", json::object()},
           {"aten.linear.default", json::object()},
           {"aten.fft_rfft.default", {{"n", integer(huge)}}},
           {"aten.stft.default", {{"n_fft", integer(huge)}}},
           {"aten.affine_grid_generator.default", {{"size", ints({1, 1, huge, huge})}}},
           {"higher_order.cond", json::object()},
           {"higher_order.while_loop", json::object()},
       }) {
    json program = Program();
    json& graph = program["graph_module"]["graph"];
    graph["tensor_values"]["x"] = Meta({2, 3});
    json& node = graph["nodes"][0];
    node["target"] = std::string("torch.ops.") + test.target;
    node["inputs"] = json::array();
    node["inputs"].push_back({{"name", "self"}, {"arg", Tensor("x")}});
    for (const auto& [name, argument] : test.arguments.items())
      node["inputs"].push_back({{"name", name}, {"arg", argument}});
    graph["tensor_values"]["linear"] = Meta({2, 2});
    const auto model = Read(RawZip(OldLayout(program.dump())));
    EXPECT_THAT(ReasonOf(model.status()),
                ::testing::AnyOf(ERROR_REASON_MODEL_MALFORMED, ERROR_REASON_OP_UNSUPPORTED,
                                 ERROR_REASON_MODEL_LIMIT))
        << test.target << " " << test.arguments << ": " << model.status();
  }
}

TEST(Pt2Convert, NamesEveryOperatorThatStandsInTheWay) {
  json program = Program();
  json& graph = program["graph_module"]["graph"];
  json nodes = json::array();
  std::string last = "x";
  int number = 0;
  for (const char* target : {"mylib.scan.default", "aten.rand_like.default", "mylib.scan.default",
                             "aten.bernoulli.default"}) {
    const std::string name = "n" + std::to_string(number++);
    nodes.push_back({{"target", std::string("torch.ops.") + target},
                     {"inputs", {{{"name", "self"}, {"arg", Tensor(last.c_str())}}}},
                     {"outputs", {Tensor(name.c_str())}}});
    graph["tensor_values"][name] = graph["tensor_values"]["x"];
    last = name;
  }
  graph["nodes"] = nodes;
  graph["outputs"] = {Tensor(last.c_str())};
  program["graph_module"]["signature"]["output_specs"][0]["user_output"]["arg"] =
      Tensor(last.c_str());
  const auto model = Read(RawZip(OldLayout(program.dump())));
  EXPECT_EQ(ReasonOf(model.status()), ERROR_REASON_OP_UNSUPPORTED);
  EXPECT_THAT(std::string(model.status().message()),
              AllOf(HasSubstr("4 operators"), HasSubstr("2 x mylib.scan.default, first \"n0\""),
                    HasSubstr("1 x aten.rand_like.default, first \"n1\""),
                    HasSubstr("1 x aten.bernoulli.default, first \"n3\""),
                    HasSubstr("give them to the module as an input")));
}

TEST(Pt2Convert, ConstantsThatAreOutputsAreInitializers) {
  json program = Program();
  json& graph = program["graph_module"]["graph"];
  graph["tensor_values"]["linear"] = Meta({2, 2});
  graph["nodes"][0] = {{"target", "torch.ops.aten.full.default"},
                       {"inputs",
                        {{{"name", "size"}, {"arg", {{"as_ints", {2, 2}}}}},
                         {{"name", "fill_value"}, {"arg", {{"as_float", 3.0}}}}}},
                       {"outputs", {Tensor("linear")}}};
  const auto model = Read(RawZip(OldLayout(program.dump())));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->proto().graph().node_size(), 0);
  const onnx::TensorProto* constant = testing::FindInitializer(*model, "linear");
  ASSERT_NE(constant, nullptr);
  EXPECT_THAT(testing::Values(*model, *constant), ElementsAre(3, 3, 3, 3));
}

TEST(Pt2Expression, EvaluatesWhatSympyWrites) {
  const std::map<std::string, int64_t, std::less<>> symbols = {{"s0", 7}, {"s1", 3}};
  struct Case {
    const char* text;
    std::optional<int64_t> value;
  };
  for (const Case& test : std::vector<Case>{
           {"Integer(5)", 5},
           {"Symbol('s0', positive=True, integer=True)", 7},
           {"Mul(Integer(3), Symbol('s0', integer=True))", 21},
           {"Add(Mul(Integer(-1), Symbol('s1')), Symbol('s0'))", 4},
           {"FloorDiv(Add(Symbol('s0'), Integer(-1)), Integer(2))", 3},
           {"FloorDiv(Integer(-7), Integer(2))", -4},
           {"Mod(Integer(-7), Integer(3))", 2},
           {"Pow(Symbol('s1'), Integer(2))", 9},
           {"Max(Symbol('s0'), Symbol('s1'))", 7},
           {"torch.utils._sympy.functions.FloorDiv(Symbol('s0'), Integer(2))", 3},
           {"Symbol('s2')", std::nullopt},
           {"FloorDiv(Integer(1), Integer(0))", std::nullopt},
           {"Mul(Integer(4611686018427387904), Integer(4))", std::nullopt},
           {"Pow(Integer(2), Integer(1000))", std::nullopt},
           {"Integer(1", std::nullopt},
           {"", std::nullopt},
           {"Add()", std::nullopt},
           {"Foo(Integer(1))", std::nullopt},
       }) {
    EXPECT_EQ(pt2::Evaluate(test.text, symbols), test.value) << test.text;
  }
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "Add(";
  EXPECT_EQ(pt2::Evaluate(deep, symbols), std::nullopt);
  EXPECT_EQ(pt2::SymbolName("Symbol('s0', positive=True)"), "s0");
  EXPECT_EQ(pt2::SymbolName("Mul(Integer(3), Symbol('s0'))"), "");
}

TEST(Pt2Promotion, FollowsTheCategories) {
  using pt2::Operand;
  using pt2::ScalarType;
  constexpr auto kTensor = Operand::Class::kTensor;
  constexpr auto kZero = Operand::Class::kZeroDimTensor;
  constexpr auto kNumber = Operand::Class::kNumber;
  struct Case {
    std::vector<Operand> operands;
    ScalarType result;
  };
  for (const Case& test : std::vector<Case>{
           {{{ScalarType::kInt32, kTensor}, {ScalarType::kInt64, kTensor}}, ScalarType::kInt64},
           {{{ScalarType::kUint8, kTensor}, {ScalarType::kInt8, kTensor}}, ScalarType::kInt16},
           {{{ScalarType::kFloat16, kTensor}, {ScalarType::kBfloat16, kTensor}},
            ScalarType::kFloat32},
           {{{ScalarType::kFloat32, kTensor}, {ScalarType::kFloat64, kZero}}, ScalarType::kFloat32},
           {{{ScalarType::kInt32, kTensor}, {ScalarType::kFloat64, kZero}}, ScalarType::kFloat64},
           {{{ScalarType::kInt32, kTensor}, {ScalarType::kInt64, kNumber}}, ScalarType::kInt32},
           {{{ScalarType::kInt32, kTensor}, {ScalarType::kFloat32, kNumber}}, ScalarType::kFloat32},
           {{{ScalarType::kFloat16, kTensor}, {ScalarType::kFloat32, kNumber}},
            ScalarType::kFloat16},
           {{{ScalarType::kBool, kTensor}, {ScalarType::kInt64, kNumber}}, ScalarType::kInt64},
           {{{ScalarType::kInt8, kZero}, {ScalarType::kInt64, kNumber}}, ScalarType::kInt8},
           {{{ScalarType::kInt64, kZero}, {ScalarType::kUint8, kTensor}}, ScalarType::kUint8},
       }) {
    EXPECT_EQ(pt2::ResultType(test.operands), test.result);
  }
}

}  // namespace
}  // namespace modelpress
