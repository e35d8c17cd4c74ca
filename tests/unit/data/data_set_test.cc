// Data sets in folders: how files become feeds, and what every kind of mistake is answered with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/data/samples.h"
#include "tests/unit/data/data_builders.h"

namespace modelpress {
namespace {

using ::testing::AllOf;
using testing::CountingNpy;
using testing::DataFolder;
using ::testing::ElementsAre;
using testing::FloatInput;
using testing::FloatNpy;
using testing::Floats;
using ::testing::HasSubstr;
using testing::Int64Npy;

absl::StatusOr<std::unique_ptr<Samples>> OpenSamples(const DataFolder& folder,
                                                     const std::vector<ValueInfo>& inputs,
                                                     uint64_t batch_size = 2,
                                                     uint64_t max_samples = 0,
                                                     std::string_view split = "test") {
  MP_ASSIGN_OR_RETURN(const auto data, DataSet::Open(folder.path(), folder.scratch()));
  return data->Split(split, {}, inputs, batch_size, max_samples);
}

TEST(DataSetTest, FeedsBatchesAlongAxisZeroWithLabels) {
  DataFolder folder;
  folder.Write("x.npy", CountingNpy({5, 2})).Write("labels.npy", Int64Npy({5}, {9, 8, 7, 6, 5}));
  const auto samples = OpenSamples(folder, {FloatInput("x", {-1, 2})});
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_EQ((*samples)->size(), 5u);
  EXPECT_EQ((*samples)->batches(), 3u);
  EXPECT_TRUE((*samples)->has_labels());
  EXPECT_FALSE((*samples)->synthetic());
  EXPECT_EQ((*samples)->description(), "the caller's data");
  const Batch second = (*samples)->Read(1).value();
  EXPECT_EQ(second.first, 2u);
  EXPECT_EQ(second.samples, 2u);
  EXPECT_THAT(Floats(second.inputs.at("x")), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(second.labels->as<int64_t>(), ElementsAre(7, 6));
  const Batch last = (*samples)->Read(2).value();
  EXPECT_THAT(last.inputs.at("x").dims, ElementsAre(1, 2));
  EXPECT_THAT(last.labels->as<int64_t>(), ElementsAre(5));
  EXPECT_EQ(ReasonOf((*samples)->Read(3).status()), ERROR_REASON_INTERNAL_BUG);
}

TEST(DataSetTest, FeedsOneRankMoreExactlyAsItStands) {
  // A state with its batch on axis 1, beside an input with samples along axis 0, and a scalar.
  DataFolder folder;
  folder.Write("x.npy", CountingNpy({2, 3}))
      .Write("state.npy", CountingNpy({2, 2, 1, 2}))
      .Write("rate.npy", Int64Npy({}, {16000}));
  const auto samples = OpenSamples(folder, {FloatInput("x", {-1, 3}),
                                            FloatInput("state", {2, -1, 2}),
                                            {.name = "rate", .type = DataType::kInt64}});
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_EQ((*samples)->batches(), 2u);
  const Batch second = (*samples)->Read(1).value();
  EXPECT_THAT(second.inputs.at("x").dims, ElementsAre(1, 3));
  EXPECT_THAT(Floats(second.inputs.at("x")), ElementsAre(3, 4, 5));
  EXPECT_THAT(second.inputs.at("state").dims, ElementsAre(2, 1, 2));
  EXPECT_THAT(Floats(second.inputs.at("state")), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(second.inputs.at("rate").dims, ElementsAre());
  EXPECT_THAT(second.inputs.at("rate").as<int64_t>(), ElementsAre(16000));
}

TEST(DataSetTest, FeedsScalarsOnePerSample) {
  DataFolder folder;
  folder.Write("rate.npy", Int64Npy({2}, {8000, 16000}));
  const auto samples = OpenSamples(folder, {{.name = "rate", .type = DataType::kInt64}});
  ASSERT_TRUE(samples.ok()) << samples.status();
  const Batch second = (*samples)->Read(1).value();
  EXPECT_THAT(second.inputs.at("rate").dims, ElementsAre());
  EXPECT_THAT(second.inputs.at("rate").as<int64_t>(), ElementsAre(16000));
}

TEST(DataSetTest, FeedsFilesPerSampleInOrderOfTheirNumbers) {
  DataFolder folder;
  for (const char* number : {"10", "2", "01"}) {
    const float value = std::stof(number);
    folder.Write(FormatString("x/{}.npy", number),
                 FloatNpy({1, static_cast<int64_t>(value)}, std::vector<float>(value, value)));
    folder.Write(FormatString("labels/{}.npy", number),
                 Int64Npy({}, {static_cast<int64_t>(value)}));
  }
  const auto samples = OpenSamples(folder, {FloatInput("x", {-1, -1})}, 8);
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_EQ((*samples)->batches(), 3u);
  for (const auto& [index, value] : {std::pair{0, 1}, {1, 2}, {2, 10}}) {
    const Batch batch = (*samples)->Read(index).value();
    EXPECT_THAT(batch.inputs.at("x").dims, ElementsAre(1, value));
    EXPECT_THAT(batch.labels->as<int64_t>(), ElementsAre(value));
    EXPECT_THAT(batch.labels->dims, ElementsAre(1));
  }
}

TEST(DataSetTest, FindsInputsWithSlashesInTheirNames) {
  DataFolder folder;
  folder.Write("test/serving/x.npy", CountingNpy({2, 2}));
  const auto samples = OpenSamples(folder, {FloatInput("serving/x", {-1, 2})});
  EXPECT_TRUE(samples.ok()) << samples.status();
}

TEST(DataSetTest, FixedAxisZeroDecidesTheBatch) {
  DataFolder folder;
  folder.Write("x.npy", CountingNpy({6, 2}));
  const auto samples = OpenSamples(folder, {FloatInput("x", {3, 2})}, 32, 5);
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_EQ((*samples)->size(), 3u);
  EXPECT_EQ((*samples)->batches(), 1u);
  EXPECT_THAT((*samples)->Read(0)->inputs.at("x").dims, ElementsAre(3, 2));
  EXPECT_EQ((*samples)->description(), "the caller's data (first 3 of 6 samples)");
  EXPECT_EQ(ReasonOf(OpenSamples(folder, {FloatInput("x", {4, 2})}).status()),
            ERROR_REASON_DATA_INVALID);
}

TEST(DataSetTest, ChoosesTheSplitOrAFallback) {
  DataFolder folder;
  folder.Write("calib/x.npy", CountingNpy({1, 2})).Write("test/x.npy", CountingNpy({3, 2}));
  const auto data = DataSet::Open(folder.path(), folder.scratch()).value();
  EXPECT_TRUE(data->HasSplit("calib"));
  EXPECT_FALSE(data->HasSplit("train"));
  const std::vector<ValueInfo> inputs = {FloatInput("x", {-1, 2})};
  EXPECT_EQ(data->Split("test", {}, inputs, 1, 0).value()->size(), 3u);
  const auto calib = data->Split("train", {"val", "calib"}, inputs, 1, 0).value();
  EXPECT_EQ(calib->size(), 1u);
  EXPECT_EQ(calib->description(), "calib split of the caller's data");
  const absl::Status missing = data->Split("train", {"val"}, inputs, 1, 0).status();
  EXPECT_EQ(ReasonOf(missing), ERROR_REASON_DATA_MISSING);
  EXPECT_EQ(DetailOf(missing).metadata().at("needed"), "train");
  EXPECT_THAT(std::string(missing.message()), HasSubstr("only calib, test"));
}

TEST(DataSetTest, FollowsLinksWithinTheFolderOnly) {
  DataFolder folder;
  folder.Write("calib/x.npy", CountingNpy({4, 2}));
  std::filesystem::create_directory_symlink("calib", folder.path("test"));
  EXPECT_EQ(OpenSamples(folder, {FloatInput("x", {-1, 2})}).value()->size(), 4u);
  DataFolder other;
  other.Write("x.npy", CountingNpy({4, 2}));
  for (const auto& [target, name] :
       {std::pair{other.path("x.npy"), "y.npy"}, {other.path(), "train"}}) {
    std::filesystem::create_symlink(target, folder.path(name));
    const absl::Status status = DataSet::Open(folder.path(), folder.scratch()).status();
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_DATA_INVALID) << name;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(name), HasSubstr("leads out")));
    std::filesystem::remove(folder.path(name));
  }
  std::filesystem::create_directory_symlink(".", folder.path("val"));  // an endless folder
  EXPECT_EQ(ReasonOf(DataSet::Open(folder.path(), folder.scratch()).status()),
            ERROR_REASON_DATA_INVALID);
}

TEST(DataSetTest, NamesWhatDoesNotFit) {
  const std::string good = CountingNpy({2, 3});
  const ValueInfo x{
      .name = "pixels", .type = DataType::kFloat, .dims = {-1, 3}, .symbols = {"N", ""}};
  const auto text = [](std::vector<int64_t> dims, std::vector<std::string> strings) {
    return WriteNpy({.type = DataType::kString, .dims = std::move(dims), .strings = strings});
  };
  const auto doubles =
      WriteNpy(testing::MakeTensor<double>(DataType::kDouble, {1, 3}, std::vector<double>(3)));
  const struct {
    std::string name;
    std::map<std::string, std::string> files;
    std::vector<std::string> message;
  } cases[] = {
      {"missing",
       {{"pixel.npy", good}},
       {"'pixels.npy' (float32 [N, 3])", "found 'pixel.npy'", "rename 'pixel'"}},
      {"extra", {{"pixels.npy", good}, {"mask.npy", good}}, {"'mask.npy'", "'pixels'"}},
      {"wrong extent",
       {{"pixels.npy", CountingNpy({2, 4})}},
       {"'pixels'", "float32 [N, 3]", "float32 [2, 4]"}},
      {"wrong rank", {{"pixels.npy", CountingNpy({6})}}, {"float32 [6]", "one rank more"}},
      {"one rank more, wrong extent",
       {{"pixels.npy", CountingNpy({2, 1, 4})}},
       {"float32 [2, 1, 4]"}},
      {"float64", {{"pixels.npy", doubles}}, {"float64 [1, 3]", "astype('float32')"}},
      {"integers", {{"pixels.npy", Int64Npy({1, 3}, {1, 2, 3})}}, {"int64 [1, 3]"}},
      {"strings", {{"pixels.npy", text({1, 3}, {"a", "b", "c"})}}, {"string [1, 3]"}},
      {"empty", {{"pixels.npy", FloatNpy({0, 3}, {})}}, {"no samples"}},
      {"labels too many",
       {{"pixels.npy", good}, {"labels.npy", Int64Npy({3}, {0, 1, 2})}},
       {"3 labels for 2 samples"}},
      {"labels scalar",
       {{"pixels.npy", good}, {"labels.npy", Int64Npy({}, {0})}},
       {"not one per sample"}},
      {"labels strings",
       {{"pixels.npy", good}, {"labels.npy", text({2}, {"a", "b"})}},
       {"labels are string"}},
      {"both forms", {{"pixels.npy", good}, {"pixels/0.npy", good}}, {"both the array"}},
      {"broken", {{"pixels.npy", "nonsense"}}, {"'pixels.npy'", "does not begin"}},
      {"file with wrong rank",
       {{"pixels/0.npy", CountingNpy({3})}},
       {"'pixels/0.npy'", "batch axis of 1 included"}},
      {"label files of other names",
       {{"pixels/0.npy", CountingNpy({1, 3})}, {"labels/1.npy", Int64Npy({}, {0})}},
       {"other names"}},
      {"split twice", {{"test/pixels.npy", good}, {"test.npz", "PK"}}, {"both 'test.npz'"}},
      {"not a zip", {{"test.npz", "PK\x03\x04 nothing"}}, {"test.npz", "cannot be read"}},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.name);
    DataFolder folder;
    for (const auto& [name, bytes] : bad.files) folder.Write(name, bytes);
    const absl::Status status = OpenSamples(folder, {x}).status();
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_DATA_INVALID) << status;
    for (const std::string& part : bad.message) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(part));
    }
  }
}

TEST(DataSetTest, CountsMustAgreeBetweenInputs) {
  DataFolder folder;
  folder.Write("a.npy", CountingNpy({2, 3})).Write("b.npy", CountingNpy({4, 3}));
  const absl::Status status =
      OpenSamples(folder, {FloatInput("a", {-1, 3}), FloatInput("b", {-1, 3})}).status();
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_DATA_INVALID);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'b' has 4 samples but input 'a' has 2"));
  const absl::Status fixed =
      OpenSamples(folder, {FloatInput("a", {2, 3}), FloatInput("b", {4, 3})}).status();
  EXPECT_EQ(ReasonOf(fixed), ERROR_REASON_DATA_INVALID);
}

TEST(DataSetTest, FindsTheSampleThatIsNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  DataFolder folder;
  folder.Write("x.npy", FloatNpy({5, 2}, {0, 0, 0, 0, 0, 0, 0, nan, 0, 0}));
  const auto samples = OpenSamples(folder, {FloatInput("x", {-1, 2})}).value();
  EXPECT_TRUE(samples->Read(0).ok());
  const absl::Status status = samples->Read(1).status();
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_DATA_NOT_FINITE);
  EXPECT_EQ(DetailOf(status).metadata().at("input"), "x");
  EXPECT_EQ(DetailOf(status).metadata().at("sample"), "3");
  EXPECT_EQ(DetailOf(status).metadata().at("index"), "1");

  DataFolder half;
  half.Write("x.npy",
             WriteNpy(testing::MakeTensor<uint16_t>(DataType::kFloat16, {2}, {0x7BFF, 0xFC00})));
  const ValueInfo input{.name = "x", .type = DataType::kFloat16, .dims = {-1}};
  const absl::Status infinite = OpenSamples(half, {input}).value()->Read(0).status();
  EXPECT_EQ(ReasonOf(infinite), ERROR_REASON_DATA_NOT_FINITE);
  EXPECT_EQ(DetailOf(infinite).metadata().at("sample"), "1");
}

TEST(DataSetTest, TakesBoolAndStringArrays) {
  DataFolder folder;
  folder.Write("flag.npy", WriteNpy(testing::MakeTensor<uint8_t>(DataType::kBool, {2}, {1, 0})))
      .Write("text.npy",
             WriteNpy({.type = DataType::kString, .dims = {2, 1}, .strings = {"a", "b"}}));
  const auto samples =
      OpenSamples(folder, {{.name = "flag", .type = DataType::kBool, .dims = {-1}},
                           {.name = "text", .type = DataType::kString, .dims = {-1, 1}}});
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_THAT((*samples)->Read(0)->inputs.at("text").strings, ElementsAre("a", "b"));
  folder.Write("flag.npy", WriteNpy(testing::MakeTensor<uint8_t>(DataType::kBool, {2}, {1, 2})));
  const auto bad =
      OpenSamples(folder, {{.name = "flag", .type = DataType::kBool, .dims = {-1}},
                           {.name = "text", .type = DataType::kString, .dims = {-1, 1}}});
  EXPECT_EQ(ReasonOf(bad.value()->Read(0).status()), ERROR_REASON_DATA_INVALID);
}

// An array of 2 GiB, a hole in a file: reading one batch of it costs that batch, also where elements are converted.
TEST(DataSetTest, AnArrayLargerThanABatchStaysOnDisk) {
  constexpr int64_t kRows = 1 << 19;
  for (const std::string descr : {"<f4", ">f4", "|S4096"}) {
    SCOPED_TRACE(descr);
    const bool text = descr == "|S4096";
    std::string header =
        FormatString("{{'descr': '{}', 'fortran_order': False, 'shape': ({}, {}), }}", descr, kRows,
                     text ? 1 : 1024);
    header.resize(118 - 1, ' ');
    header += '\n';
    DataFolder folder;
    folder.Write("x.npy", std::string("\x93NUMPY\1\0\x76\0", 10) + header);
    std::filesystem::resize_file(folder.path("x.npy"), 128 + uint64_t{kRows} * 4096);
    const ValueInfo input{
        .name = "x", .type = text ? DataType::kString : DataType::kFloat, .dims = {-1, -1}};
    const uint64_t before = testing::AnonymousBytes();
    const auto samples = OpenSamples(folder, {input}, 64).value();
    EXPECT_EQ(samples->size(), static_cast<uint64_t>(kRows));
    for (const uint64_t index : {uint64_t{0}, samples->batches() - 1}) {
      EXPECT_TRUE(samples->Read(index).ok());
    }
    EXPECT_LT(testing::AnonymousBytes(), before + (8 << 20));
  }
}

TEST(DataSetTest, AnEmptyOrAbsentFolderIsAnError) {
  DataFolder folder;
  EXPECT_EQ(ReasonOf(DataSet::Open(folder.path(), folder.scratch()).status()),
            ERROR_REASON_DATA_INVALID);
  EXPECT_EQ(ReasonOf(DataSet::Open(folder.path("nowhere"), folder.scratch()).status()),
            ERROR_REASON_FILE_ACCESS);
}

}  // namespace
}  // namespace modelpress
