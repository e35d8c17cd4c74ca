// safetensors: what is written reads back, headers that lie are refused, shards agree with their index.
#include <cstring>
#include <filesystem>

#include "core/base/status.h"
#include "core/formats/safetensors/header.h"
#include "core/formats/weights/put_weights.h"
#include "core/formats/weights/read_weights.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string File(const std::string& header, size_t data_bytes, uint64_t claimed = 0) {
  const uint64_t length = claimed == 0 ? header.size() : claimed;
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + std::string(data_bytes, '\1');
}

std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}";
}

absl::StatusOr<safetensors::Contents> Read(const std::string& bytes) {
  return safetensors::Read(testing::MakeInput("w.safetensors", bytes).file);
}

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirBytes) {
  const auto contents =
      Read(File("{" + Entry("b", "F32", "[2]", "[0,8]") + "," + Entry("a", "I8", "[]", "[8,9]") +
                    "," + Entry("none", "F16", "[0,4]", "[9,9]") + R"(,"__metadata__":{"k":"v"}})",
                9));
  ASSERT_TRUE(contents.ok()) << contents.status();
  ASSERT_EQ(contents->tensors.size(), 3u);
  EXPECT_EQ(contents->tensors[0].name, "b");
  EXPECT_EQ(contents->tensors[0].type, DataType::kFloat);
  EXPECT_EQ(contents->tensors[1].name, "a");
  EXPECT_THAT(contents->metadata, ElementsAre(std::pair<const std::string, std::string>("k", "v")));
}

TEST(Safetensors, RefusesHeadersThatLie) {
  struct Case {
    const char* name;
    std::string bytes;
    ErrorReason reason = ERROR_REASON_MODEL_MALFORMED;
  };
  const std::string two = Entry("a", "F32", "[2]", "[0,8]");
  for (const Case& test : std::vector<Case>{
           {"empty", ""},
           {"shorter than its length", "\x08\0\0"},
           {"header past the end", File("{}", 0, 100)},
           {"absurd header", File("{}", 0, ~uint64_t{0})},
           {"no JSON", File("{\"a\":", 0)},
           {"no object", File("[]      ", 0)},
           {"too deep", File(std::string(9000, '[') + std::string(9000, ']'), 0),
            ERROR_REASON_MODEL_LIMIT},
           {"overlap", File("{" + two + "," + Entry("b", "F32", "[2]", "[4,12]") + "}", 12)},
           {"the same bytes twice",
            File("{" + two + "," + Entry("b", "F32", "[2]", "[0,8]") + "}", 8)},
           {"hole", File("{" + two + "," + Entry("b", "F32", "[1]", "[12,16]") + "}", 16)},
           {"hole at the start", File("{" + Entry("a", "F32", "[2]", "[4,12]") + "}", 12)},
           {"bytes left over", File("{" + two + "}", 12)},
           {"past the end", File("{" + two + "}", 4)},
           {"far past the end",
            File("{" + Entry("a", "F32", "[2]", "[9223372036854775800,9223372036854775807]") + "}",
                 8)},
           {"end before begin", File("{" + Entry("a", "F32", "[2]", "[8,0]") + "}", 8)},
           {"negative place", File("{" + Entry("a", "F32", "[2]", "[-8,0]") + "}", 8)},
           {"three places", File("{" + Entry("a", "F32", "[2]", "[0,4,8]") + "}", 8)},
           {"size of another shape", File("{" + Entry("a", "F32", "[3]", "[0,8]") + "}", 8)},
           {"negative extent", File("{" + Entry("a", "F32", "[-2]", "[0,8]") + "}", 8)},
           {"fractional extent", File("{" + Entry("a", "F32", "[2.5]", "[0,8]") + "}", 8)},
           {"extents overflow",
            File("{" + Entry("a", "F32", "[4294967296,4294967296]", "[0,8]") + "}", 8)},
           {"no dtype", File(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8)},
           {"dtype is a number", File(R"({"a":{"dtype":1,"shape":[2],"data_offsets":[0,8]}})", 8)},
           {"unknown dtype", File("{" + Entry("a", "F13", "[2]", "[0,8]") + "}", 8),
            ERROR_REASON_OP_UNSUPPORTED},
           {"a name twice", File("{" + two + "," + Entry("a", "F32", "[1]", "[8,12]") + "}", 12)},
           {"metadata is a list", File("{" + two + R"(,"__metadata__":[]})", 8)},
       }) {
    EXPECT_EQ(ReasonOf(Read(test.bytes).status()), test.reason)
        << test.name << ": " << Read(test.bytes).status();
  }
}

TEST(Safetensors, WeightsOfAModelAreWrittenAndReadBack) {
  const Model model = testing::ModelFromText(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[2] x) => (float[2] y)
    <float[2] w = {1.5, -2}, int64[1] s = {2}> { a = Mul(x, w) y = Reshape(a, s) })");
  const Format& format = *FormatRegistry::Get().Find("safetensors");
  testing::TestJob job;
  const auto written = format.Write(model, Output(), job.folder(), "w.safetensors", job.context());
  ASSERT_TRUE(written.ok()) << written.status();
  const auto file = MappedFile::OpenForReading(job.folder() + "/w.safetensors").value();
  const auto contents = safetensors::Read(file);
  ASSERT_TRUE(contents.ok()) << contents.status();
  // Wide elements first, so that all are aligned.
  ASSERT_EQ(contents->tensors.size(), 2u);
  EXPECT_EQ(contents->tensors[0].name, "s");
  EXPECT_EQ(contents->tensors[1].name, "w");
  EXPECT_EQ(contents->tensors[1].data.offset % 4, 0u);
  EXPECT_EQ(contents->metadata.at("format"), "pt");
  const auto read = format.Read({{"w.safetensors", file}, {}}, Import(), job.context());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(testing::Values(*read, *testing::FindInitializer(*read, "w")), ElementsAre(1.5, -2));
}

struct Shards {
  InputFile index;
  std::vector<InputFile> files;
};

Shards MakeShards(const std::string& map) {
  Shards shards;
  shards.index = testing::MakeInput("model.safetensors.index.json",
                                    R"({"metadata":{},"weight_map":{)" + map + "}}");
  shards.files.push_back(
      testing::MakeInput("s1.safetensors", File("{" + Entry("a", "U8", "[1]", "[0,1]") + "}", 1)));
  shards.files.push_back(
      testing::MakeInput("s2.safetensors", File("{" + Entry("b", "U8", "[1]", "[0,1]") + "}", 1)));
  return shards;
}

TEST(SafetensorsShards, AgreeWithTheirIndex) {
  testing::TestJob job;
  const auto read = [&](const Shards& shards) {
    return ReadWeights(shards.index, shards.files, job.context(), nullptr);
  };
  const auto good = read(MakeShards(R"("a":"s1.safetensors","b":"s2.safetensors")"));
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->size(), 2u);
  struct Case {
    std::string map;
    const char* message;
  };
  for (const Case& test : std::vector<Case>{
           {R"("a":"s1.safetensors","b":"s1.safetensors")", "'b' is not in"},
           {R"("a":"s2.safetensors","b":"s2.safetensors")", "'a' is not in"},
           {R"("a":"s1.safetensors","b":"s2.safetensors","c":"s2.safetensors")", "'c' is not in"},
           {R"("a":"s1.safetensors","x":"s2.safetensors")",
            "'b' of 's2.safetensors' is not in the index"},
           {R"("a":"s1.safetensors","b":"s3.safetensors")", "'s3.safetensors', which is not there"},
           {R"("a":"../s1.safetensors")", "no plain relative path"},
           {R"("a":"/etc/passwd")", "no plain relative path"},
           {R"("a":7)", "names no file"},
           {R"("a":"s1.safetensors","a":"s2.safetensors")", "twice"},
       }) {
    const auto refused = read(MakeShards(test.map));
    EXPECT_EQ(ReasonOf(refused.status()), ERROR_REASON_MODEL_MALFORMED) << test.map;
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr(test.message));
  }
}

TEST(PutWeights, ReplacesByNameOrReportsEveryMismatch) {
  const char* const text = R"(
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[1, 2] x) => (float[1, 2] y)
    <float[2, 2] w = {1, 2, 3, 4}, float[2] b = {0, 0}, float[3, 2] other = {1, 2, 3, 4, 5, 6}>
    { a = MatMul(x, w) y = Add(a, b) })";
  const auto file = testing::MakeInput("w", std::string(24, '\0')).file;
  const auto tensor = [&](const char* name, std::vector<int64_t> dims,
                          DataType type = DataType::kFloat) {
    uint64_t bytes = static_cast<uint64_t>(BitsPerElement(type)) / 8;
    for (const int64_t dim : dims) bytes *= static_cast<uint64_t>(dim);
    return NamedTensor{name, type, std::move(dims), {file, 0, bytes}};
  };
  Model model = testing::ModelFromText(text);
  std::vector<std::string> notes;
  const std::map<std::string, std::string> renames = {{"layer.weight", "w"}, {"junk", ""}};
  absl::Status status =
      PutWeights({tensor("layer.weight", {2, 2}), tensor("b", {1, 2}), tensor("junk", {1}),
                  tensor("norm.num_batches_tracked", {}, DataType::kInt64)},
                 renames, &model, &notes);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(testing::Values(model, *testing::FindInitializer(model, "w")),
              ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(notes, ElementsAre(HasSubstr("2 weights"), HasSubstr("1 counters"),
                                 AllOf(HasSubstr("1 weights"), HasSubstr("'other'"))));

  Model untouched = testing::ModelFromText(text);
  status = PutWeights({tensor("w", {2, 2}, DataType::kFloat16), tensor("other", {2, 3}),
                       tensor("bb", {2}), tensor("b", {3})},
                      {{"gone", "w"}}, &untouched, &notes);
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_RECIPE_INVALID);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("5 tensors"), HasSubstr("'w': its type is float16"),
                    HasSubstr("transposed"), HasSubstr("no weight 'bb'; the nearest is 'b'"),
                    HasSubstr("'b': its shape is [3]"), HasSubstr("'gone'")));
  EXPECT_THAT(testing::Values(untouched, *testing::FindInitializer(untouched, "w")),
              ElementsAre(1, 2, 3, 4));
}

}  // namespace
}  // namespace modelpress
