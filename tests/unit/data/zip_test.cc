// Data sets in ZIP archives: the same samples as from the folder, nothing copied that is stored, and archives that lie.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zip.h>

#include <fstream>
#include <random>
#include <sstream>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/data/file_tree.h"
#include "core/data/samples.h"
#include "core/data/zip_writer.h"
#include "tests/support/test_data.h"
#include "tests/unit/data/data_builders.h"

namespace modelpress {
namespace {

using testing::CountingNpy;
using testing::DataFolder;
using ::testing::ElementsAre;
using testing::FloatInput;
using testing::Floats;
using ::testing::HasSubstr;

struct ZipEntry {
  std::string name;
  std::string bytes;
  bool deflate = false;
  bool encrypt = false;
};

// An archive as libzip writes it.
std::string MakeZip(const std::vector<ZipEntry>& entries) {
  zip_error_t error;
  zip_source_t* target = zip_source_buffer_create(nullptr, 0, 0, &error);
  zip_t* zip = zip_open_from_source(target, ZIP_TRUNCATE, &error);
  zip_source_keep(target);
  for (const ZipEntry& entry : entries) {
    zip_source_t* source = zip_source_buffer(zip, entry.bytes.data(), entry.bytes.size(), 0);
    const zip_int64_t index = zip_file_add(zip, entry.name.c_str(), source, ZIP_FL_ENC_RAW);
    zip_set_file_compression(zip, index, entry.deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
    if (entry.encrypt) zip_file_set_encryption(zip, index, ZIP_EM_AES_256, "secret");
  }
  EXPECT_EQ(zip_close(zip), 0);
  zip_source_open(target);
  zip_source_seek(target, 0, SEEK_END);
  std::string bytes(static_cast<size_t>(zip_source_tell(target)), '\0');
  zip_source_seek(target, 0, SEEK_SET);
  zip_source_read(target, bytes.data(), bytes.size());
  zip_source_close(target);
  zip_source_free(target);
  return bytes;
}

// Replaces every occurrence: names and sizes stand in the local and in the central header.
std::string Replace(std::string bytes, const std::string& from, const std::string& to) {
  EXPECT_EQ(from.size(), to.size());
  for (size_t at = 0; (at = bytes.find(from, at)) != std::string::npos; at += to.size()) {
    bytes.replace(at, from.size(), to);
  }
  return bytes;
}

absl::StatusOr<std::unique_ptr<FileTree>> Open(const std::string& bytes, Scratch* scratch) {
  auto owner = std::make_shared<std::string>(bytes);
  return OpenZip({std::as_bytes(std::span(*owner)), owner}, "data.zip", scratch);
}

TEST(ZipTest, GivesTheSamplesOfTheFolder) {
  const std::string x = CountingNpy({3, 2});
  const std::string labels = testing::Int64Npy({3}, {4, 5, 6});
  const std::string npz = MakeZip({{"x.npy", x, true}, {"labels.npy", labels}});
  DataFolder folder;
  for (const bool deflate : {false, true}) {
    folder.Write("data.zip", MakeZip({{"calib.npz", npz, deflate},
                                      {"test/labels.npy", labels, deflate},
                                      {"test/x.npy", x, deflate},
                                      {"README", "not data"},
                                      {"test/._x.npy", "what macOS adds"},
                                      {"__MACOSX/test/._x.npy", "what macOS adds"}}));
    const auto data = DataSet::Open(folder.path("data.zip"), folder.scratch()).value();
    for (const char* split : {"calib", "test"}) {
      const auto samples = data->Split(split, {}, {FloatInput("x", {-1, 2})}, 2, 0);
      ASSERT_TRUE(samples.ok()) << samples.status();
      const Batch batch = (*samples)->Read(1).value();
      EXPECT_THAT(Floats(batch.inputs.at("x")), ElementsAre(4, 5));
      EXPECT_THAT(batch.labels->as<int64_t>(), ElementsAre(6));
    }
  }
}

TEST(ZipTest, AFolderSentAsAZipGivesTheSameSamples) {
  DataFolder folder;
  folder.Write("test/x.npy", CountingNpy({3, 2})).Write("test/._x.npy", "hidden");
  std::filesystem::create_directory_symlink("test", folder.path("calib"));
  const std::string zip = folder.scratch()->folder() + "/data.zip";
  ASSERT_TRUE(WriteStoredZip(folder.path(), zip).ok());
  for (const std::string& path : {folder.path(), zip}) {
    const auto data = DataSet::Open(path, folder.scratch()).value();
    for (const char* split : {"calib", "test"}) {
      const auto samples = data->Split(split, {}, {FloatInput("x", {-1, 2})}, 2, 0).value();
      EXPECT_EQ(samples->size(), 3u);
      EXPECT_THAT(Floats(samples->Read(1)->inputs.at("x")), ElementsAre(4, 5));
    }
  }
}

TEST(ZipTest, ReadsWhatNumpyWrote) {
  DataFolder folder;
  for (const char* name : {"npy/stored.npz", "npy/deflated.npz"}) {
    const auto data = DataSet::Open(testing::TestDataPath(name), folder.scratch());
    ASSERT_TRUE(data.ok()) << data.status();
    const auto samples = (*data)->Split("test", {}, {FloatInput("x", {-1, -1})}, 1, 0);
    ASSERT_TRUE(samples.ok()) << samples.status();
    EXPECT_EQ((*samples)->size(), 2u);
    EXPECT_THAT((*samples)->Read(1)->labels->as<int64_t>(), ElementsAre(1));
  }
}

TEST(ZipTest, StoredEntriesAreUsedInPlaceAndOutliveTheTree) {
  const std::string x = CountingNpy({3, 2});
  auto owner = std::make_shared<std::string>(MakeZip({{"x.npy", x}, {"y.npy", x, true}}));
  DataFolder folder;
  SharedBytes stored, expanded;
  {
    const auto tree =
        OpenZip({std::as_bytes(std::span(*owner)), owner}, "data.zip", folder.scratch()).value();
    EXPECT_THAT(tree->names(), ElementsAre("x.npy", "y.npy"));
    stored = tree->Open("x.npy").value();
    EXPECT_EQ(folder.scratch()->used_bytes(), 0u);
    expanded = tree->Open("y.npy").value();
    EXPECT_EQ(folder.scratch()->used_bytes(), x.size());
    EXPECT_EQ(ReasonOf(tree->Open("z.npy").status()), ERROR_REASON_DATA_INVALID);
  }
  const auto* begin = reinterpret_cast<const std::byte*>(owner->data());
  EXPECT_TRUE(stored.bytes.data() > begin && stored.bytes.data() < begin + owner->size());
  EXPECT_TRUE(std::ranges::equal(stored.bytes, std::as_bytes(std::span(x))));
  EXPECT_TRUE(std::ranges::equal(expanded.bytes, std::as_bytes(std::span(x))));
}

TEST(ZipTest, RefusesArchivesThatLie) {
  const std::string x = CountingNpy({3, 2});
  const std::string zeros(100'000, '\0');
  const std::string two = MakeZip({{"xa.npy", x}, {"xb.npy", x}});
  // Sizes as the headers hold them: little-endian.
  const auto number = [](uint32_t value) {
    return std::string(reinterpret_cast<const char*>(&value), 4);
  };
  // Both central headers point at the first entry's bytes; the local names agree.
  std::string overlapping = MakeZip({{"xa.npy", x}, {"xa_npy", x}});
  const size_t central = overlapping.rfind("PK\x01\x02");
  overlapping.replace(central + 42, 4, number(0));
  const struct {
    std::string name;
    std::string bytes;
    std::string message;
  } cases[] = {
      {"no archive", "PK\x03\x04 nothing", "cannot be read"},
      {"truncated", two.substr(0, two.size() / 2), "cannot be read"},
      {"cut at the front", two.substr(10), "cannot be read"},
      {"parent folder", MakeZip({{"../x.npy", x}}), "no plain relative path"},
      {"parent folder within", MakeZip({{"a/../../x.npy", x}}), "no plain relative path"},
      {"absolute", MakeZip({{"/x.npy", x}}), "no plain relative path"},
      {"backslash", MakeZip({{"a\\x.npy", x}}), "no plain relative path"},
      {"empty part", MakeZip({{"a//x.npy", x}}), "no plain relative path"},
      {"dot", MakeZip({{"./x.npy", x}}), "no plain relative path"},
      {"long name", MakeZip({{std::string(2000, 'a') + ".npy", x}}), "no plain relative path"},
      {"twice", Replace(two, "xb.npy", "xa.npy"), "exists"},
      {"overlapping", overlapping, ""},
      {"encrypted", MakeZip({{"x.npy", x, false, true}}), "encrypted"},
      {"bomb", Replace(MakeZip({{"x.npy", zeros, true}}), number(100'000), number(4'000'000'000)),
       ""},
  };
  DataFolder folder;
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.name);
    const absl::Status status = Open(bad.bytes, folder.scratch()).status();
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_DATA_INVALID) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.message));
    EXPECT_THAT(std::string(status.message()), HasSubstr("data.zip"));
  }
}

TEST(ZipTest, RefusesEntriesThatDoNotExpandAsDeclared) {
  DataFolder folder;
  const std::string zeros(100'000, '\0');
  const std::string good = MakeZip({{"x.npy", zeros, true}});
  const auto number = [](uint32_t value) {
    return std::string(reinterpret_cast<const char*>(&value), 4);
  };
  for (const uint32_t claimed : {90'000, 100'001}) {
    const auto tree = Open(Replace(good, number(100'000), number(claimed)), folder.scratch());
    const absl::Status status = tree.ok() ? (*tree)->Open("x.npy").status() : tree.status();
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_DATA_INVALID) << claimed << status;
  }
  EXPECT_EQ(folder.scratch()->used_bytes(), 0u);
}

TEST(ZipTest, ExpandsWithinTheQuotaOnly) {
  auto scratch = Scratch::Temporary(50'000).value();
  const auto tree =
      Open(MakeZip({{"x.npy", std::string(100'000, '\0'), true}}), scratch.get()).value();
  EXPECT_EQ(ReasonOf(tree->Open("x.npy").status()), ERROR_REASON_SCRATCH_FULL);
  EXPECT_EQ(scratch->used_bytes(), 0u);
}

// Any damage is refused or leaves readable entries; never a crash (run under the address sanitizer too).
TEST(ZipTest, SurvivesDamage) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(FormatString("seed {}", seed));
  std::mt19937 random(seed);
  const std::string x = CountingNpy({3, 2});
  const std::string good = MakeZip({{"x.npy", x}, {"test/y.npy", x, true}, {"z.npz", x}});
  auto scratch = Scratch::Temporary(1 << 20).value();
  int opened = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = good;
    for (uint32_t change = 0; change <= random() % 3; ++change) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const auto tree = Open(bytes, scratch.get());
    if (!tree.ok()) continue;
    ++opened;
    for (const std::string& name : (*tree)->names()) {
      const auto entry = (*tree)->Open(name);
      if (entry.ok()) (void)NpyArray::Parse(*entry);
    }
  }
  EXPECT_GT(opened, 100);
  EXPECT_LT(opened, 2000);
  EXPECT_EQ(scratch->used_bytes(), 0u);
}

}  // namespace
}  // namespace modelpress
