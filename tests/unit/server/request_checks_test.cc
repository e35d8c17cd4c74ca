// StartJob against the published limits.
#include "server/jobs/request_checks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "core/base/status.h"

namespace modelpress {
namespace {

Limits TestLimits() {
  Limits limits;
  limits.set_max_blob_bytes(1000);
  limits.set_max_job_bytes(1500);
  limits.set_max_blobs(4);
  limits.set_max_recipe_bytes(512);
  limits.set_max_deadline_seconds(100);
  limits.set_default_deadline_seconds(10);
  return limits;
}

void AddBlob(StartJob& start, Blob::Role role, const std::string& name, uint64_t size) {
  Blob& blob = *start.add_blobs();
  blob.set_blob_id(static_cast<uint32_t>(start.blobs_size()));
  blob.set_role(role);
  blob.set_name(name);
  blob.set_size_bytes(size);
}

StartJob ValidStart() {
  StartJob start;
  start.set_request_id("0b1e7a3e-33aa-4a2c-9f58-5a2ed0a3f9f1");
  AddBlob(start, Blob::ROLE_MODEL, "model.onnx", 1000);
  AddBlob(start, Blob::ROLE_SIDECAR, "variables/weights.data", 400);
  AddBlob(start, Blob::ROLE_DATA, "data.zip", 100);
  return start;
}

TEST(CheckStartTest, FillsInDefaults) {
  StartJob start = ValidStart();
  ASSERT_TRUE(CheckStart(TestLimits(), &start).ok());
  EXPECT_EQ(start.spec().output_name(), "model.onnx");
  EXPECT_EQ(start.spec().deadline_seconds(), 10);
  start.mutable_spec()->set_deadline_seconds(1e9);
  ASSERT_TRUE(CheckStart(TestLimits(), &start).ok());
  EXPECT_EQ(start.spec().deadline_seconds(), 100);
}

TEST(CheckStartTest, RefusesWhatIsNotWithinTheLimits) {
  struct Case {
    const char* name;
    std::function<void(StartJob&)> change;
    ErrorReason reason;
    const char* field;
  };
  const Case cases[] = {
      {"no id", [](StartJob& s) { s.clear_request_id(); }, ERROR_REASON_REQUEST_INVALID,
       "start.request_id"},
      {"long id", [](StartJob& s) { s.set_request_id(std::string(65, 'a')); },
       ERROR_REASON_REQUEST_INVALID, "start.request_id"},
      {"id with slash", [](StartJob& s) { s.set_request_id("a/b"); }, ERROR_REASON_REQUEST_INVALID,
       "start.request_id"},
      {"large spec",
       [](StartJob& s) {
         s.mutable_spec()->mutable_recipe()->mutable_output()->set_format(std::string(600, 'x'));
       },
       ERROR_REASON_REQUEST_INVALID, "start.spec"},
      {"output path", [](StartJob& s) { s.mutable_spec()->set_output_name("../x"); },
       ERROR_REASON_REQUEST_INVALID, "start.spec.output_name"},
      {"output dots", [](StartJob& s) { s.mutable_spec()->set_output_name(".."); },
       ERROR_REASON_REQUEST_INVALID, "start.spec.output_name"},
      {"output control", [](StartJob& s) { s.mutable_spec()->set_output_name("a\nb"); },
       ERROR_REASON_REQUEST_INVALID, "start.spec.output_name"},
      {"NaN deadline", [](StartJob& s) { s.mutable_spec()->set_deadline_seconds(std::nan("")); },
       ERROR_REASON_REQUEST_INVALID, "start.spec.deadline_seconds"},
      {"negative deadline", [](StartJob& s) { s.mutable_spec()->set_deadline_seconds(-1); },
       ERROR_REASON_REQUEST_INVALID, "start.spec.deadline_seconds"},
      {"no blobs", [](StartJob& s) { s.clear_blobs(); }, ERROR_REASON_REQUEST_INVALID,
       "start.blobs"},
      {"many blobs",
       [](StartJob& s) {
         for (int i = 0; i < 5; ++i) AddBlob(s, Blob::ROLE_SIDECAR, std::to_string(i), 0);
       },
       ERROR_REASON_REQUEST_INVALID, "start.blobs"},
      {"id gap", [](StartJob& s) { s.mutable_blobs(1)->set_blob_id(7); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs[1].blob_id"},
      {"absolute name", [](StartJob& s) { s.mutable_blobs(1)->set_name("/etc/passwd"); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs[1].name"},
      {"climbing name", [](StartJob& s) { s.mutable_blobs(1)->set_name("a/../../b"); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs[1].name"},
      {"empty part", [](StartJob& s) { s.mutable_blobs(1)->set_name("a//b"); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs[1].name"},
      {"NUL", [](StartJob& s) { s.mutable_blobs(1)->set_name(std::string("a\0b", 3)); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs[1].name"},
      {"long name", [](StartJob& s) { s.mutable_blobs(1)->set_name(std::string(256, 'n')); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs[1].name"},
      {"same name", [](StartJob& s) { s.mutable_blobs(1)->set_name("model.onnx"); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs[1].name"},
      {"no role", [](StartJob& s) { s.mutable_blobs(1)->clear_role(); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs[1].role"},
      {"a role that is not used",
       [](StartJob& s) { s.mutable_blobs(1)->set_role(static_cast<Blob::Role>(4)); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs[1].role"},
      {"no model", [](StartJob& s) { s.mutable_blobs(0)->set_role(Blob::ROLE_SIDECAR); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs"},
      {"two models", [](StartJob& s) { s.mutable_blobs(1)->set_role(Blob::ROLE_MODEL); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs"},
      {"two data", [](StartJob& s) { s.mutable_blobs(1)->set_role(Blob::ROLE_DATA); },
       ERROR_REASON_REQUEST_INVALID, "start.blobs"},
      {"two students",
       [](StartJob& s) {
         s.mutable_blobs(1)->set_role(Blob::ROLE_STUDENT);
         s.mutable_blobs(2)->set_role(Blob::ROLE_STUDENT);
       },
       ERROR_REASON_REQUEST_INVALID, "start.blobs"},
      {"two graphs",
       [](StartJob& s) {
         s.mutable_blobs(1)->set_role(Blob::ROLE_GRAPH);
         s.mutable_blobs(2)->set_role(Blob::ROLE_GRAPH);
       },
       ERROR_REASON_REQUEST_INVALID, "start.blobs"},
      {"large blob", [](StartJob& s) { s.mutable_blobs(0)->set_size_bytes(1001); },
       ERROR_REASON_BLOB_TOO_LARGE, nullptr},
      {"large job", [](StartJob& s) { s.mutable_blobs(1)->set_size_bytes(500); },
       ERROR_REASON_BLOB_TOO_LARGE, nullptr},
      {"overflow",
       [](StartJob& s) {
         s.mutable_blobs(1)->set_size_bytes(std::numeric_limits<uint64_t>::max());
       },
       ERROR_REASON_BLOB_TOO_LARGE, nullptr},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    StartJob start = ValidStart();
    c.change(start);
    const absl::Status status = CheckStart(TestLimits(), &start);
    EXPECT_EQ(ReasonOf(status), c.reason) << status;
    if (c.field != nullptr) {
      EXPECT_EQ(DetailOf(status).metadata().at("field"), c.field);
    }
  }
}

TEST(CheckStartTest, TakesOneOfEachFurtherModel) {
  StartJob start = ValidStart();
  start.mutable_blobs(1)->set_role(Blob::ROLE_STUDENT);
  start.mutable_blobs(2)->set_role(Blob::ROLE_GRAPH);
  EXPECT_TRUE(CheckStart(TestLimits(), &start).ok());
}

// The sum of sizes that are each within the limit must not wrap around.
TEST(CheckStartTest, SumDoesNotOverflow) {
  Limits limits = TestLimits();
  limits.set_max_blob_bytes(std::numeric_limits<uint64_t>::max());
  limits.set_max_job_bytes(std::numeric_limits<uint64_t>::max());
  StartJob start = ValidStart();
  start.mutable_blobs(0)->set_size_bytes(std::numeric_limits<uint64_t>::max());
  start.mutable_blobs(1)->set_size_bytes(2);
  EXPECT_EQ(ReasonOf(CheckStart(limits, &start)), ERROR_REASON_BLOB_TOO_LARGE);
}

}  // namespace
}  // namespace modelpress
