// Transfer of blobs: what arrives is what is stored, and every fault has its error.
#include "server/transfer/upload_receiver.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <random>
#include <sstream>

#include "core/base/scratch.h"
#include "core/base/status.h"
#include "tests/unit/server/fakes.h"

namespace modelpress {
namespace {

using testing::Crc;
using testing::Digest;

class UploadTest : public ::testing::Test {
 protected:
  UploadTest() : scratch_(*Scratch::Temporary(0)), pool_(std::make_unique<TaskPool>(3)) {}

  std::shared_ptr<UploadReceiver> Begin(std::vector<uint64_t> sizes) {
    return UploadReceiver::Begin(scratch_->folder() + "/in", std::move(sizes),
                                 [this](Task task) { pool_->Post(std::move(task)); });
  }
  static absl::StatusOr<UploadReceiver::Attachment> Attach(UploadReceiver& upload) {
    std::promise<absl::StatusOr<UploadReceiver::Attachment>> promise;
    upload.Attach([&](auto attachment) { promise.set_value(std::move(attachment)); });
    return promise.get_future().get();
  }
  static absl::StatusOr<uint64_t> Append(UploadReceiver& upload, uint64_t generation, uint32_t blob,
                                         uint64_t offset, const std::string& data, uint32_t crc) {
    std::promise<absl::StatusOr<uint64_t>> promise;
    upload.Append(generation, blob, offset, data, crc,
                  [&](auto committed) { promise.set_value(committed); });
    return promise.get_future().get();
  }
  static absl::StatusOr<uint64_t> Append(UploadReceiver& upload, uint64_t generation, uint32_t blob,
                                         uint64_t offset, const std::string& data) {
    return Append(upload, generation, blob, offset, data, Crc(data));
  }
  static absl::Status Finish(UploadReceiver& upload, uint64_t generation,
                             std::vector<std::string> sha256) {
    std::promise<absl::Status> promise;
    upload.Finish(generation, std::move(sha256),
                  [&](const auto& status) { promise.set_value(status); });
    return promise.get_future().get();
  }
  static std::string ReadFile(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }

  std::unique_ptr<Scratch> scratch_;
  std::unique_ptr<TaskPool> pool_;
};

TEST_F(UploadTest, StoresWhatArrivesInAnyInterleavingOfBlobs) {
  for (uint32_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    std::vector<std::string> blobs(1 + random() % 3);
    std::vector<uint64_t> sizes;
    for (std::string& blob : blobs) {
      blob.resize(random() % 300000);
      for (char& c : blob) c = static_cast<char>(random());
      sizes.push_back(blob.size());
    }
    const auto upload =
        UploadReceiver::Begin(scratch_->folder() + "/" + std::to_string(seed), sizes,
                              [this](Task task) { pool_->Post(std::move(task)); });
    const uint64_t generation = Attach(*upload)->generation;
    std::vector<uint64_t> sent(blobs.size());
    std::vector<std::string> digests;
    for (const std::string& blob : blobs) digests.push_back(Digest(blob));
    while (sent != sizes) {
      const size_t i = random() % blobs.size();
      const std::string piece = blobs[i].substr(sent[i], random() % 60000);
      const auto committed =
          Append(*upload, generation, static_cast<uint32_t>(i + 1), sent[i], piece);
      ASSERT_TRUE(committed.ok()) << committed.status();
      sent[i] += piece.size();
      ASSERT_EQ(*committed, sent[i]);
    }
    ASSERT_TRUE(Finish(*upload, generation, digests).ok());
    for (size_t i = 0; i < blobs.size(); ++i) EXPECT_TRUE(ReadFile(upload->path(i)) == blobs[i]);
  }
}

TEST_F(UploadTest, FaultsOfChunksChangeNothing) {
  const auto upload = Begin({10, 5});
  const uint64_t generation = Attach(*upload)->generation;
  ASSERT_EQ(*Append(*upload, generation, 1, 0, "0123"), 4u);
  struct Case {
    const char* name;
    uint32_t blob;
    uint64_t offset;
    std::string data;
    ErrorReason reason;
  };
  const Case cases[] = {
      {"gap", 1, 5, "5", ERROR_REASON_OFFSET_MISMATCH},
      {"overlap", 1, 3, "34", ERROR_REASON_OFFSET_MISMATCH},
      {"past the end", 1, 4, "4567890", ERROR_REASON_OFFSET_MISMATCH},
      {"far past the end", 1, ~0ull, "x", ERROR_REASON_OFFSET_MISMATCH},
      {"unknown blob", 3, 0, "x", ERROR_REASON_REQUEST_INVALID},
      {"blob zero", 0, 0, "x", ERROR_REASON_REQUEST_INVALID},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto committed = Append(*upload, generation, c.blob, c.offset, c.data);
    EXPECT_EQ(ReasonOf(committed.status()), c.reason) << committed.status();
    if (c.reason == ERROR_REASON_OFFSET_MISMATCH) {
      EXPECT_EQ(DetailOf(committed.status()).metadata().at("expected"), "4");
    }
  }
  EXPECT_EQ(ReasonOf(Append(*upload, generation, 1, 4, "456789", Crc("456780")).status()),
            ERROR_REASON_CHUNK_CORRUPT);
  EXPECT_EQ(Attach(*upload)->committed, (std::vector<uint64_t>{4, 0}));
}

TEST_F(UploadTest, FinishNeedsEveryByte) {
  const auto upload = Begin({4, 2});
  const uint64_t generation = Attach(*upload)->generation;
  ASSERT_TRUE(Append(*upload, generation, 1, 0, "0123").ok());
  ASSERT_TRUE(Append(*upload, generation, 2, 0, "a").ok());
  EXPECT_EQ(ReasonOf(Finish(*upload, generation, {Digest("0123")})), ERROR_REASON_REQUEST_INVALID);
  const absl::Status status = Finish(*upload, generation, {Digest("0123"), Digest("ab")});
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_UPLOAD_INCOMPLETE);
  EXPECT_EQ(DetailOf(status).metadata().at("blob"), "2");
  ASSERT_TRUE(Append(*upload, generation, 2, 1, "b").ok());
  EXPECT_TRUE(Finish(*upload, generation, {Digest("0123"), Digest("ab")}).ok());
  EXPECT_EQ(ReasonOf(Finish(*upload, generation, {Digest("0123"), Digest("ab")})),
            ERROR_REASON_PROTOCOL_VIOLATION);
  EXPECT_EQ(ReasonOf(Append(*upload, generation, 2, 2, "").status()),
            ERROR_REASON_PROTOCOL_VIOLATION);
}

TEST_F(UploadTest, WrongDigestIsSentOnceMore) {
  const auto upload = Begin({4, 3});
  const uint64_t generation = Attach(*upload)->generation;
  ASSERT_TRUE(Append(*upload, generation, 1, 0, "good").ok());
  ASSERT_TRUE(Append(*upload, generation, 2, 0, "bad").ok());
  const absl::Status status = Finish(*upload, generation, {Digest("good"), Digest("bet")});
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_DIGEST_MISMATCH);
  EXPECT_EQ(DetailOf(status).metadata().at("blob"), "2");
  EXPECT_EQ(DetailOf(status).metadata().at("found"), Digest("bad"));
  EXPECT_EQ(Attach(*upload)->committed, (std::vector<uint64_t>{4, 0}));
  ASSERT_TRUE(Append(*upload, generation + 1, 2, 0, "bet").ok());
  EXPECT_TRUE(Finish(*upload, generation + 1, {Digest("good"), Digest("bet")}).ok());
}

TEST_F(UploadTest, NewSenderGoesOnWhereTheOldOneWas) {
  const auto upload = Begin({6});
  const uint64_t old = Attach(*upload)->generation;
  ASSERT_TRUE(Append(*upload, old, 1, 0, "abc").ok());
  const auto attachment = Attach(*upload);
  EXPECT_EQ(attachment->committed, std::vector<uint64_t>{3});
  EXPECT_EQ(Append(*upload, old, 1, 3, "d").status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Finish(*upload, old, {Digest("abcdef")}).code(), absl::StatusCode::kAborted);
  ASSERT_TRUE(Append(*upload, attachment->generation, 1, 3, "def").ok());
  EXPECT_TRUE(Finish(*upload, attachment->generation, {Digest("abcdef")}).ok());
}

// Two senders at once, as after a connection that only one side knows to be lost.
TEST_F(UploadTest, RacingSendersNeverMixTheirBytes) {
  constexpr size_t kSize = 400000;
  const std::string bytes(kSize, 'x');
  const auto upload = Begin({kSize});
  std::atomic<bool> finished = false;
  const auto send = [&] {
    while (!finished) {
      const auto attachment = Attach(*upload);
      uint64_t offset = attachment->committed[0];
      bool alone = true;
      while (alone && offset < kSize) {
        const auto committed =
            Append(*upload, attachment->generation, 1, offset, bytes.substr(offset, 1000));
        alone = committed.ok();
        offset = alone ? *committed : offset;
      }
      if (alone && Finish(*upload, attachment->generation, {Digest(bytes)}).ok()) finished = true;
      if (attachment->committed[0] == kSize) break;
    }
  };
  std::thread other(send);
  send();
  other.join();
  EXPECT_TRUE(finished);
  EXPECT_TRUE(ReadFile(upload->path(0)) == bytes);
}

TEST_F(UploadTest, UnusableFolderIsATypedError) {
  std::ofstream(scratch_->folder() + "/file") << "x";
  const auto upload =
      UploadReceiver::Begin(scratch_->folder() + "/file/in", {1}, testing::Inline());
  EXPECT_EQ(ReasonOf(Attach(*upload).status()), ERROR_REASON_DISK_FULL);
}

TEST_F(UploadTest, MoreThanTheDiskHasIsDiskFull) {
  const auto upload = Begin({1ull << 60});
  EXPECT_EQ(ReasonOf(Attach(*upload).status()), ERROR_REASON_DISK_FULL);
}

}  // namespace
}  // namespace modelpress
