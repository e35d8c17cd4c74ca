// Element types, sizes, and decoding of every numeric type.
#include <cmath>
#include <cstring>
#include <set>

#include "core/base/status.h"
#include "core/model/model.h"
#include "core/model/tensor.h"
#include "gtest/gtest.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

TEST(ElementCount, MultipliesAndRefuses) {
  struct Case {
    std::vector<int64_t> dims;
    int64_t count;  // -1: refused
  };
  constexpr int64_t kBig = int64_t{1} << 32;
  for (const Case& test : std::vector<Case>{{{}, 1},
                                            {{0}, 0},
                                            {{3, 4}, 12},
                                            {{-1}, -1},
                                            {{kBig, kBig}, -1},
                                            {{0, kBig, kBig}, -1},
                                            {{kBig, kBig / 4}, int64_t{1} << 62},
                                            {{kBig, kBig / 2}, -1}}) {
    const auto count = ElementCount(test.dims);
    if (test.count < 0) {
      EXPECT_EQ(ReasonOf(count.status()), ERROR_REASON_MODEL_MALFORMED);
    } else {
      ASSERT_TRUE(count.ok());
      EXPECT_EQ(*count, test.count);
    }
  }
}

TEST(ByteCount, PacksFourBitTypes) {
  EXPECT_EQ(*ByteCount(DataType::kInt4, 0), 0);
  EXPECT_EQ(*ByteCount(DataType::kInt4, 5), 3);
  EXPECT_EQ(*ByteCount(DataType::kUint4, 6), 3);
  EXPECT_EQ(*ByteCount(DataType::kFloat, 5), 20);
  EXPECT_EQ(*ByteCount(DataType::kComplex128, 2), 32);
  EXPECT_FALSE(ByteCount(DataType::kDouble, uint64_t{1} << 62).ok());
  EXPECT_FALSE(ByteCount(DataType::kString, 1).ok());
  EXPECT_FALSE(ByteCount(static_cast<DataType>(99), 1).ok());
}

struct ElementCase {
  DataType type;
  uint64_t pattern;
  uint64_t index;
  double value;
};

TEST(ElementAsDouble, KnowsEveryType) {
  const double kNan = std::nan("");
  const double kInf = HUGE_VAL;
  // Patterns by hand from IEEE 754 and the FP8 and MX format definitions.
  for (const ElementCase& test :
       std::vector<ElementCase>{{DataType::kFloat, 0xC0490FDB, 0, -3.1415927410125732},
                                {DataType::kDouble, 0x3FF8000000000000, 0, 1.5},
                                {DataType::kInt8, 0xFF80, 0, -128},
                                {DataType::kInt8, 0xFF80, 1, -1},
                                {DataType::kUint8, 0xFF80, 1, 255},
                                {DataType::kBool, 1, 0, 1},
                                {DataType::kInt16, 0x8000, 0, -32768},
                                {DataType::kUint16, 0x8000, 0, 32768},
                                {DataType::kInt32, 0xFFFFFFFE, 0, -2},
                                {DataType::kUint32, 0xFFFFFFFE, 0, 4294967294.0},
                                {DataType::kInt64, ~uint64_t{0}, 0, -1},
                                {DataType::kFloat16, 0x3C00, 0, 1},
                                {DataType::kFloat16, 0x0001, 0, std::ldexp(1, -24)},
                                {DataType::kFloat16, 0xFBFF, 0, -65504},
                                {DataType::kFloat16, 0xFC00, 0, -kInf},
                                {DataType::kFloat16, 0x7E00, 0, kNan},
                                {DataType::kBfloat16, 0x3FC0, 0, 1.5},
                                {DataType::kFloat8E4M3FN, 0x7E, 0, 448},
                                {DataType::kFloat8E4M3FN, 0x7F, 0, kNan},
                                {DataType::kFloat8E4M3FN, 0x01, 0, std::ldexp(1, -9)},
                                {DataType::kFloat8E4M3FNUZ, 0x7F, 0, 240},
                                {DataType::kFloat8E4M3FNUZ, 0x80, 0, kNan},
                                {DataType::kFloat8E5M2, 0x7B, 0, 57344},
                                {DataType::kFloat8E5M2, 0x7C, 0, kInf},
                                {DataType::kFloat8E5M2FNUZ, 0x7F, 0, 57344},
                                {DataType::kUint4, 0xF1, 0, 1},
                                {DataType::kUint4, 0xF1, 1, 15},
                                {DataType::kInt4, 0x8F, 0, -1},
                                {DataType::kInt4, 0x8F, 1, -8},
                                {DataType::kFloat4E2M1, 0xF1, 0, 0.5},
                                {DataType::kFloat4E2M1, 0xF1, 1, -6},
                                {DataType::kComplex64, 0, 0, kNan}}) {
    const Tensor tensor{test.type, {2}, std::as_bytes(std::span(&test.pattern, 1)), nullptr, {}};
    const double value = ElementAsDouble(tensor, test.index);
    if (std::isnan(test.value)) {
      EXPECT_TRUE(std::isnan(value)) << DataTypeName(test.type);
    } else {
      EXPECT_EQ(value, test.value) << DataTypeName(test.type) << " " << test.pattern;
    }
  }
}

TEST(TensorMake, GivesZerosAndKeepsThem) {
  std::span<std::byte> data;
  auto tensor = Tensor::Make(DataType::kFloat, {2, 3}, &data);
  ASSERT_TRUE(tensor.ok());
  ASSERT_EQ(data.size(), 24);
  data[0] = std::byte{1};
  const Tensor copy = *tensor;
  *tensor = Tensor();
  EXPECT_EQ(copy.element_count(), 6);
  EXPECT_EQ(copy.bytes[0], std::byte{1});
  EXPECT_EQ(copy.as<float>()[5], 0.0f);
}

TEST(WeightArena, SharesFilesAndAligns) {
  testing::TestJob job;
  WeightArena arena(&job.scratch());
  const auto first = arena.Allocate(100);
  const auto second = arena.Allocate(7);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->weight.file, second->weight.file);
  EXPECT_EQ(second->weight.offset, 128);
  EXPECT_EQ(second->bytes.size(), 7);
  const auto large = arena.Allocate(100 << 20);
  const auto third = arena.Allocate(7);
  ASSERT_TRUE(large.ok() && third.ok());
  EXPECT_NE(large->weight.file, first->weight.file);
  EXPECT_EQ(third->weight.file, first->weight.file);
  EXPECT_EQ(job.scratch().used_bytes(), (256 << 10) + (100 << 20));
}

TEST(WeightArena, TakesFewFilesForManyWeights) {
  testing::TestJob job;
  WeightArena arena(&job.scratch());
  std::set<const MappedFile*> files;
  std::vector<WeightArena::Room> rooms;
  for (int i = 0; i < 10'000; ++i) {
    rooms.push_back(arena.Allocate(10'000).value());
    files.insert(rooms.back().weight.file.get());
  }
  EXPECT_LT(files.size(), 12);
  EXPECT_LT(job.scratch().used_bytes(), 3 * 10'000 * 10'000ull);
}

// A server gives a job the quota that its plan asked for, which for small models is far below a large file.
TEST(WeightArena, FillsASmallQuota) {
  testing::TestJob job(1, /*quota_bytes=*/1'000'000);
  WeightArena arena(&job.scratch());
  std::vector<WeightArena::Room> rooms;
  for (int i = 0; i < 90; ++i) {
    auto room = arena.Allocate(10'000);
    ASSERT_TRUE(room.ok()) << i << ": " << room.status();
    rooms.push_back(*std::move(room));
  }
}

TEST(WeightArena, RespectsTheQuota) {
  testing::TestJob job(1, /*quota_bytes=*/64 << 20);
  WeightArena arena(&job.scratch());
  ASSERT_TRUE(arena.Allocate(1).ok());
  const auto refused = arena.Allocate(100 << 20);
  EXPECT_EQ(ReasonOf(refused.status()), ERROR_REASON_SCRATCH_FULL);
}

TEST(Model, RefusesBytesThatDoNotFitTheShape) {
  Model model;
  onnx::TensorProto tensor;
  tensor.set_name("w");
  const std::vector<int64_t> dims = {2};
  const std::vector<std::byte> bytes(7);
  EXPECT_EQ(ReasonOf(model.SetInline(&tensor, DataType::kFloat, dims, bytes)),
            ERROR_REASON_INTERNAL_BUG);
  EXPECT_EQ(ReasonOf(model.SetWeight(&tensor, DataType::kFloat, dims, {})),
            ERROR_REASON_INTERNAL_BUG);
}

TEST(Model, ReplacesATensorByItsOwnBytes) {
  Model model;
  onnx::TensorProto tensor;
  tensor.set_name("w");
  const std::vector<int64_t> dims = {2};
  const std::vector<float> values = {1, 2};
  ASSERT_TRUE(
      model.SetInline(&tensor, DataType::kFloat, dims, std::as_bytes(std::span(values))).ok());
  ASSERT_TRUE(
      model.SetInline(&tensor, DataType::kInt64, std::vector<int64_t>{1}, *model.Bytes(tensor))
          .ok());
  EXPECT_EQ(tensor.name(), "w");
  EXPECT_EQ(tensor.dims(0), 1);
  EXPECT_EQ(tensor.raw_data().size(), 8);
  // Its own extents may be passed as the new ones.
  ASSERT_TRUE(model.SetInline(&tensor, DataType::kDouble, Dims(tensor), *model.Bytes(tensor)).ok());
  EXPECT_EQ(tensor.dims(0), 1);
}

TEST(Model, ForeignReferencesAreNoWeights) {
  Model model;
  for (const char* location : {"", "#", "#0", "#-1", "#0x", "weights.data"}) {
    onnx::TensorProto tensor;
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    tensor.add_external_data()->set_value(location);
    EXPECT_EQ(model.Weight(tensor), nullptr) << location;
    EXPECT_EQ(ReasonOf(model.Bytes(tensor).status()), ERROR_REASON_MODEL_MALFORMED);
  }
}

}  // namespace
}  // namespace modelpress
