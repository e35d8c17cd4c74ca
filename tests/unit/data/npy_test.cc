// Arrays: what NumPy wrote is read as NumPy would, lies are refused, and what is written reads back equal.
#include "core/data/npy.h"
#include "core/base/format_string.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "core/base/status.h"
#include "tests/support/test_data.h"
#include "tests/unit/data/data_builders.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ParseNpy;

std::string Fixture(const std::string& name) {
  std::ifstream file(testing::TestDataPath("npy/" + name), std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

absl::StatusOr<Tensor> Read(const std::string& bytes) {
  auto owner = std::make_shared<std::string>(bytes);
  return ReadNpy(std::as_bytes(std::span(*owner)), owner);
}

std::vector<double> Values(const Tensor& tensor) {
  std::vector<double> values;
  for (uint64_t i = 0; i < tensor.element_count(); ++i)
    values.push_back(ElementAsDouble(tensor, i));
  return values;
}

// A version 1 file, padded like NumPy's.
std::string File(std::string header, const std::string& elements, char version = 1) {
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += version;
  bytes += '\0';
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8);
  return bytes + header + elements;
}

TEST(NpyTest, ReadsWhatNumpyWrote) {
  const struct {
    std::string name;
    DataType type;
    std::vector<int64_t> dims;
    std::vector<double> values;
  } cases[] = {
      {"float32.npy", DataType::kFloat, {2, 3}, {0, 1, 2, 3, 4, 5}},
      {"version2.npy", DataType::kFloat, {2, 3}, {0, 1, 2, 3, 4, 5}},
      {"version3.npy", DataType::kFloat, {2, 3}, {0, 1, 2, 3, 4, 5}},
      {"fortran.npy", DataType::kInt32, {2, 3, 4}, {0,  1,  2,  3,  4,  5,  6,  7,
                                                    8,  9,  10, 11, 12, 13, 14, 15,
                                                    16, 17, 18, 19, 20, 21, 22, 23}},
      {"big_endian.npy", DataType::kInt16, {3}, {1, -2, 300}},
      {"float16.npy", DataType::kFloat16, {3}, {0.5, -2, 65504}},
      {"bool.npy", DataType::kBool, {3}, {1, 0, 1}},
      {"scalar.npy", DataType::kInt64, {}, {16000}},
  };
  for (const auto& expected : cases) {
    SCOPED_TRACE(expected.name);
    const auto tensor = Read(Fixture(expected.name));
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(tensor->type, expected.type);
    EXPECT_EQ(tensor->dims, expected.dims);
    EXPECT_EQ(Values(*tensor), expected.values);
  }
}

TEST(NpyTest, ReadsStringsAndComplexNumbers) {
  EXPECT_THAT(Read(Fixture("bytes.npy"))->strings, ElementsAre("ab", "", "abc"));
  EXPECT_THAT(Read(Fixture("unicode.npy"))->strings,
              ElementsAre("h\xC3\xA9", "\xE4\xB8\x96\xE7\x95\x8C", "\xF0\x9F\x98\x80", ""));
  const Tensor complex_number = Read(Fixture("complex64.npy")).value();
  EXPECT_EQ(complex_number.type, DataType::kComplex64);
  EXPECT_THAT(complex_number.as<float>(), ElementsAre(1, 2));
}

TEST(NpyTest, ReadsRowsOfEveryLayout) {
  // Rows 1 to 2 of three, through the plain, the Fortran and the big-endian path.
  const std::string fortran_elements("\0\2\4\1\3\5", 6);
  const NpyArray fortran = ParseNpy(
      File("{'descr': '|u1', 'fortran_order': True, 'shape': (3, 2), }", fortran_elements));
  EXPECT_THAT(Values(fortran.Rows(1, 2).value()), ElementsAre(2, 3, 4, 5));
  const NpyArray big = ParseNpy(File("{'descr': '>u2', 'fortran_order': False, 'shape': (3, 1), }",
                                     std::string("\0\1\0\2\1\0", 6)));
  EXPECT_THAT(Values(big.Rows(1, 2).value()), ElementsAre(2, 256));
  const Tensor rows = ParseNpy(testing::CountingNpy({3, 2})).Rows(1, 2).value();
  EXPECT_THAT(rows.dims, ElementsAre(2, 2));
  EXPECT_THAT(Values(rows), ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(ReasonOf(fortran.Rows(2, 2).status()), ERROR_REASON_INTERNAL_BUG);
}

TEST(NpyTest, RefersToAlignedBytesAndCopiesOthers) {
  const std::string bytes = testing::CountingNpy({4});
  for (const size_t shift : {0, 1}) {
    auto owner = std::make_shared<std::vector<std::byte>>(bytes.size() + 64);
    // Vectors of bytes are aligned to 16 by the allocator; `shift` breaks that.
    std::memcpy(owner->data() + shift, bytes.data(), bytes.size());
    const auto tensor = ReadNpy({owner->data() + shift, bytes.size()}, owner);
    ASSERT_TRUE(tensor.ok());
    const bool refers = tensor->owner.get() == owner.get();
    EXPECT_EQ(refers, shift == 0);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->bytes.data()) % alignof(float), 0u);
    EXPECT_THAT(tensor->as<float>(), ElementsAre(0, 1, 2, 3));
  }
}

TEST(NpyTest, RefusesWhatLies) {
  const std::string good = testing::CountingNpy({2, 2});
  const auto header = [](const std::string& text) { return File(text, std::string(16, '\0')); };
  const auto shape = [&](const std::string& text) {
    return header("{'descr': '<f4', 'fortran_order': False, 'shape': " + text + ", }");
  };
  const auto type = [&](const std::string& text) {
    return header("{'descr': " + text + ", 'fortran_order': False, 'shape': (2, 2), }");
  };
  const struct {
    std::string bytes;
    std::string message;
  } cases[] = {
      {"", "does not begin"},
      {"\x93NUMPY", "does not begin"},
      {"x" + good, "does not begin"},
      {File("{}", "", 4), "version 4"},
      {good.substr(0, 40), "ends within its header"},
      {good.substr(0, good.size() - 1), "15 bytes of elements where its shape needs 16"},
      {good + "x", "17 bytes of elements where its shape needs 16"},
      {header("__import__('os').system('x')"), "no '{'"},
      {header("{'descr': '<f4', 'fortran_order': False}"), "lacks"},
      {header("{'descr': '<f4', 'descr': '<f4'}"), "twice"},
      {header("{'descr': '<f4', 'x': 1}"), "unknown key 'x'"},
      {header("{'descr': '<f4"), "string without end"},
      {header("{'descr': '<f4', 'fortran_order': 1, 'shape': (2, 2), }"), "neither True nor False"},
      {header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), } + 1"), "goes on"},
      {shape("4"), "no '('"},
      {shape("(4)"), "no tuple"},
      {shape("(2, 2"), "no tuple"},
      {shape("(-2, 2)"), "negative extent -2"},
      {shape("(2.5,)"), "no"},
      {shape("(99999999999999999999,)"), "2^63"},
      {shape("(4611686018427387904, 4611686018427387904)"), "overflows"},
      {shape("(4611686018427387904,)"), "overflows"},
      {shape("(0, 9223372036854775807, 9223372036854775807)"), "overflows"},
      {type("'|O'"), "pickled"},
      {type("'<q9'"), "'<q9'"},
      {type("'f4'"), "'f4'"},
      {type("'<f4x'"), "'<f4x'"},
      {type("'|S0'"), "'|S0'"},
      {type("'|S99999999999999999999'"), "no model takes"},
      {type("'<M8[ns]'"), "no model takes"},
      {type("[('a', '<f4')]"), "structured"},
      {File("{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }",
            std::string("\x00\xD8\x00\x00", 4)),
       "0xd800"},
      {Fixture("pickled.npy"), "pickled"},
      {Fixture("structured.npy"), "structured"},
  };
  for (const auto& bad : cases) {
    const absl::Status status = Read(bad.bytes).status();
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_DATA_INVALID) << status << " not " << bad.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.message));
  }
}

TEST(NpyTest, AcceptsHeadersOfOtherWriters) {
  for (const std::string text :
       {"{\"shape\":(2L,2L),\"fortran_order\":False,\"descr\":\"<f4\"}",
        "{ 'descr' : '<f4' , 'fortran_order' : False , 'shape' : ( 2 , 2 , ) }",
        "{'descr': '=f4', 'fortran_order': False, 'shape': (4,),\n}"}) {
    EXPECT_TRUE(Read(File(text, std::string(16, '\0'))).ok()) << text;
  }
}

// Every type with a NumPy counterpart survives writing and reading, bit for bit.
TEST(NpyTest, WritesWhatItReads) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(FormatString("seed {}", seed));
  std::mt19937 random(seed);
  const DataType types[] = {DataType::kFloat,     DataType::kDouble, DataType::kFloat16,
                            DataType::kInt8,      DataType::kInt16,  DataType::kInt32,
                            DataType::kInt64,     DataType::kUint8,  DataType::kUint16,
                            DataType::kUint32,    DataType::kUint64, DataType::kComplex64,
                            DataType::kComplex128};
  for (int round = 0; round < 200; ++round) {
    const DataType type = types[random() % std::size(types)];
    std::vector<int64_t> dims(random() % 5);
    for (int64_t& extent : dims) extent = random() % 6;
    std::span<std::byte> data;
    const Tensor tensor = Tensor::Make(type, dims, &data).value();
    for (std::byte& byte : data) byte = static_cast<std::byte>(random());
    const auto again = Read(WriteNpy(tensor));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->type, type);
    EXPECT_EQ(again->dims, dims);
    EXPECT_TRUE(std::ranges::equal(again->bytes, tensor.bytes));
  }
}

TEST(NpyTest, WritesStringsAndWidensForeignTypes) {
  for (const std::vector<std::string>& strings : {std::vector<std::string>{"plain", ""},
                                                  {"h\xC3\xA9llo", "\xF0\x9F\x98\x80"},
                                                  {"\xFF not UTF-8", "x"}}) {
    Tensor tensor{.type = DataType::kString, .dims = {2, 1}, .strings = strings};
    const auto again = Read(WriteNpy(tensor));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->strings, strings);
    EXPECT_EQ(again->dims, tensor.dims);
  }
  const Tensor bfloat16 = testing::MakeTensor<uint16_t>(DataType::kBfloat16, {2}, {0x3F80, 0xC000});
  EXPECT_THAT(Read(WriteNpy(bfloat16))->as<float>(), ElementsAre(1, -2));
  const Tensor int4 = testing::MakeTensor<uint8_t>(DataType::kInt4, {3}, {0x8F, 0x07});
  EXPECT_THAT(Values(Read(WriteNpy(int4)).value()), ElementsAre(-1, -8, 7));
}

}  // namespace
}  // namespace modelpress
