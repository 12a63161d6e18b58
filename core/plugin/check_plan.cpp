// Finds out what a plugin is and which checks apply to it.
#include "core/plugin/check_plan.hpp"

#include "core/plugin/byte_source.hpp"
#include "core/plugin/elf_descriptor.hpp"
#include "core/plugin/manifest_plugins.hpp"
#include "core/plugin/plugin_file.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <utility>

namespace quiver {
namespace {

void describe_manifest(CheckSubject& subject) {
  subject.origin = PluginOrigin::manifest;
  PluginEntry entry = read_manifest_entry(subject.file);
  subject.descriptor = std::move(entry.descriptor);
  subject.files = std::move(entry.files);
  subject.refusal = {entry.fault, std::move(entry.reason)};
}

void describe_library(CheckSubject& subject) {
  subject.files = {subject.file};
  try {
    const PluginFile file = PluginFile::open(subject.file);
    const FileBytes bytes(file.descriptor(), file.identity().size);
    DescriptorReading reading = read_descriptor(bytes, host_api());
    if (reading.descriptor) subject.descriptor = std::move(*reading.descriptor);
    subject.refusal = std::move(reading.refusal);
  } catch (const Error& error) {
    subject.refusal = {PluginFault::unreadable, error.what()};
  }
}

void add_offer_checks(const PluginOffer& offer, std::vector<Check>& plan) {
  switch (offer.kind) {
    case OfferKind::architecture: return add_architecture_checks(offer, plan);
    case OfferKind::sampler: return add_sampler_checks(offer, plan);
    case OfferKind::canvas_sampler: return add_canvas_checks(offer, plan);
    case OfferKind::quant_scheme: return add_quant_checks(offer, plan);
    case OfferKind::kv_strategy: return add_kv_checks(offer, plan);
  }
}

}  // namespace

std::shared_ptr<PluginLibrary> CheckSubject::load() const {
  if (origin == PluginOrigin::elf) return load_elf_plugin(PluginFile::open(file));
  return load_manifest_plugin(PluginFile::open(files.front()), PluginFile::open(files.back()));
}

CheckSubject check_subject(const std::filesystem::path& file, const std::filesystem::path& config) {
  CheckSubject subject;
  subject.file = file;
  subject.config = config;
  if (file.extension() == ".json") {
    describe_manifest(subject);
  } else {
    describe_library(subject);
  }
  return subject;
}

std::vector<Check> plan_checks(const CheckSubject& subject) {
  std::vector<Check> plan;
  add_general_checks(subject, plan);
  // Without a valid descriptor there is nothing to go by, and nothing of the file may run.
  if (subject.refusal) return plan;
  for (const PluginOffer& offer : subject.descriptor.offers) add_offer_checks(offer, plan);
  return plan;
}

}  // namespace quiver
