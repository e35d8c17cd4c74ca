// Data folders as ZIP files, as they are sent to a server.
#include "core/data/zip_writer.h"

#include <zip.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "core/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace modelpress {
namespace {

namespace fs = std::filesystem;

class ZipWriterTest : public ::testing::Test {
 protected:
  ZipWriterTest() {
    std::string pattern = (fs::temp_directory_path() / "zip-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~ZipWriterTest() override { fs::remove_all(folder_); }

  void Put(const std::string& name, const std::string& content) {
    fs::create_directories((fs::path(folder_) / name).parent_path());
    std::ofstream(folder_ + "/" + name, std::ios::binary) << content;
  }
  static std::string Content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // Name and content of every entry; each must be stored.
  static std::map<std::string, std::string> Entries(const std::string& path) {
    std::map<std::string, std::string> entries;
    zip_t* archive = zip_open(path.c_str(), ZIP_RDONLY, nullptr);
    for (zip_int64_t i = 0; i < zip_get_num_entries(archive, 0); ++i) {
      zip_stat_t stat;
      zip_stat_index(archive, i, 0, &stat);
      EXPECT_EQ(stat.comp_method, ZIP_CM_STORE) << stat.name;
      std::string content(stat.size, '\0');
      zip_file_t* file = zip_fopen_index(archive, i, 0);
      EXPECT_EQ(zip_fread(file, content.data(), content.size()),
                static_cast<zip_int64_t>(content.size()));
      zip_fclose(file);
      entries[stat.name] = content;
    }
    zip_discard(archive);
    return entries;
  }

  std::string folder_;
};

TEST_F(ZipWriterTest, StoresFilesUnderTheirRelativeNames) {
  Put("data/test/input.npy", std::string(100'000, 'x'));
  Put("data/test/labels.npy", "labels");
  Put("data/calib/input.npy", "");
  Put("data/.hidden/x.npy", "no");
  Put("data/._input.npy", "no");
  Put("data/README", "no");
  fs::create_symlink("input.npy", folder_ + "/data/calib/same.npy");
  ASSERT_TRUE(WriteStoredZip(folder_ + "/data", folder_ + "/a.zip").ok());
  EXPECT_THAT(Entries(folder_ + "/a.zip"),
              ::testing::ElementsAre(::testing::Pair("calib/input.npy", ""),
                                     ::testing::Pair("calib/same.npy", ""),
                                     ::testing::Pair("test/input.npy", std::string(100'000, 'x')),
                                     ::testing::Pair("test/labels.npy", "labels")));
}

TEST_F(ZipWriterTest, SameFolderGivesTheSameBytes) {
  Put("data/b.npy", "b");
  Put("data/a.npy", "a");
  ASSERT_TRUE(WriteStoredZip(folder_ + "/data", folder_ + "/a.zip").ok());
  fs::last_write_time(folder_ + "/data/a.npy",
                      fs::file_time_type::clock::now() - std::chrono::hours(1000));
  fs::permissions(folder_ + "/data/b.npy", fs::perms::owner_all);
  ASSERT_TRUE(WriteStoredZip(folder_ + "/data/", folder_ + "/b.zip").ok());
  EXPECT_EQ(Content(folder_ + "/a.zip"), Content(folder_ + "/b.zip"));
}

TEST_F(ZipWriterTest, SaysWhatIsWrong) {
  EXPECT_EQ(ReasonOf(WriteStoredZip(folder_ + "/none", folder_ + "/a.zip")),
            ERROR_REASON_FILE_ACCESS);
  fs::create_directory(folder_ + "/empty");
  EXPECT_EQ(ReasonOf(WriteStoredZip(folder_ + "/empty", folder_ + "/a.zip")),
            ERROR_REASON_DATA_INVALID);
  Put("data/a.npy", "a");
  EXPECT_EQ(ReasonOf(WriteStoredZip(folder_ + "/data", folder_ + "/none/a.zip")),
            ERROR_REASON_FILE_ACCESS);
  fs::create_symlink("/etc/passwd", folder_ + "/data/out.npy");
  EXPECT_EQ(ReasonOf(WriteStoredZip(folder_ + "/data", folder_ + "/a.zip")),
            ERROR_REASON_DATA_INVALID);
}

}  // namespace
}  // namespace modelpress
