// Reading descriptors from files, whole ones and every kind of damaged one.
#include "core/plugin/elf_descriptor.hpp"

#include "tests/plugin/plugin_fixture.hpp"

#include <elf.h>
#include <gmock/gmock.h>

#include <functional>
#include <random>

namespace quiver {
namespace {

using quiver::test::descriptor_in;
using quiver::test::read_bytes;
using quiver::test::set_text;
using quiver::test::subject;
using testing::HasSubstr;

std::vector<std::byte> good_bytes() {
  return read_bytes(subject("subject-good"));
}

Elf64_Ehdr& header_in(std::vector<std::byte>& bytes) {
  return *reinterpret_cast<Elf64_Ehdr*>(bytes.data());
}

/// What becomes of the good plugin after a change to its descriptor.
DescriptorReading after(const std::function<void(quiver_descriptor&)>& change) {
  std::vector<std::byte> bytes = good_bytes();
  change(descriptor_in(bytes));
  return read_descriptor(bytes, host_api());
}

TEST(ElfDescriptor, IsReadWithoutLoading) {
  const DescriptorReading reading = read_descriptor(good_bytes(), host_api());
  EXPECT_FALSE(reading.refusal) << reading.refusal.reason;
  PluginDescriptor expected;
  expected.name = "subject-good";
  expected.version = "1.0.0";
  expected.license = "Apache-2.0";
  expected.summary = "A subject of tests";
  expected.api_major = QUIVER_API_MAJOR;
  expected.api_minor = QUIVER_API_MINOR;
  expected.abi_stamp = QUIVER_ABI_STAMP;
  expected.offers = {{OfferKind::sampler, "subject-good", "Multiplies logits", {}, {}}};
  EXPECT_EQ(reading.descriptor, expected);
  EXPECT_FALSE(quiver::test::is_mapped(QUIVER_TEST_SUBJECTS));
}

TEST(ElfDescriptor, ListsModelTypesOfArchitectures) {
  const DescriptorReading reading =
      read_descriptor(read_bytes(subject("subject-wagon")), host_api());
  ASSERT_TRUE(reading.descriptor);
  EXPECT_EQ(reading.descriptor->offers[0].model_types, (std::vector<std::string>{"wagon", "cart"}));
  EXPECT_EQ(reading.descriptor->offers[0].gguf_architectures,
            (std::vector<std::string>{"wagon-gguf"}));
}

TEST(ElfDescriptor, RefusesWhatIsNoElfFile) {
  for (const std::string text : {"", "#!/bin/sh\n", "\x7f", "MZ and more", "GGUF"}) {
    const auto reading = read_descriptor(std::as_bytes(std::span(text)), host_api());
    EXPECT_TRUE(reading.refusal.fault == PluginFault::not_elf ||
                reading.refusal.fault == PluginFault::truncated)
        << text;
  }
}

TEST(ElfDescriptor, RefusesOtherMachinesByName) {
  const auto fault_after = [](const std::function<void(Elf64_Ehdr&)>& change) {
    std::vector<std::byte> bytes = good_bytes();
    change(header_in(bytes));
    return read_descriptor(bytes, host_api()).refusal;
  };
  const Refusal narrow = fault_after([](Elf64_Ehdr& h) { h.e_ident[EI_CLASS] = ELFCLASS32; });
  EXPECT_EQ(narrow.fault, PluginFault::wrong_class);
  EXPECT_THAT(narrow.reason, HasSubstr("32-bit"));
  const Refusal other = fault_after([](Elf64_Ehdr& h) { h.e_machine = EM_RISCV; });
  EXPECT_EQ(other.fault, PluginFault::wrong_machine);
  EXPECT_THAT(other.reason, HasSubstr("built for riscv, this host is"));
  EXPECT_EQ(fault_after([](Elf64_Ehdr& h) { h.e_ident[EI_DATA] = ELFDATA2MSB; }).fault,
            PluginFault::wrong_machine);
  EXPECT_EQ(fault_after([](Elf64_Ehdr& h) { h.e_type = ET_EXEC; }).fault,
            PluginFault::not_shared_object);
  EXPECT_EQ(fault_after([](Elf64_Ehdr& h) { h.e_version = 9; }).fault, PluginFault::malformed_elf);
}

TEST(ElfDescriptor, RefusesEveryTruncation) {
  const std::vector<std::byte> bytes = good_bytes();
  for (std::size_t size = 0; size < bytes.size(); size += size < 300 ? 1 : 61) {
    const auto reading = read_descriptor(std::span(bytes).first(size), host_api());
    ASSERT_TRUE(reading.refusal) << "at " << size << " of " << bytes.size();
    ASSERT_FALSE(reading.descriptor);
    if (size >= 4) {
      ASSERT_EQ(reading.refusal.fault, PluginFault::truncated) << "at " << size;
    }
  }
  EXPECT_TRUE(read_descriptor(std::span(bytes).first(bytes.size() - 1), host_api()).refusal);
}

TEST(ElfDescriptor, RefusesALibraryThatIsNoPlugin) {
  const auto reading =
      read_descriptor(read_bytes(quiver::test::subject("plain-functions")), host_api());
  EXPECT_EQ(reading.refusal.fault, PluginFault::no_descriptor);
}

TEST(ElfDescriptor, RefusesAWrongMagic) {
  const auto reading = after([](quiver_descriptor& d) { d.magic[7] = '9'; });
  EXPECT_EQ(reading.refusal.fault, PluginFault::bad_magic);
}

TEST(ElfDescriptor, RefusesAbsurdSizes) {
  for (const std::uint32_t size : {0U, 1U, 200U, 0x7fffffffU, 0xffffffffU}) {
    EXPECT_EQ(after([&](quiver_descriptor& d) { d.size = size; }).refusal.fault,
              PluginFault::bad_descriptor)
        << size;
    EXPECT_EQ(after([&](quiver_descriptor& d) { d.offer_size = size; }).refusal.fault,
              PluginFault::bad_descriptor)
        << size;
  }
}

TEST(ElfDescriptor, NamesBothSidesOfAnApiOfTheFuture) {
  const auto major = after([](quiver_descriptor& d) { d.api_major = 7; });
  EXPECT_EQ(major.refusal.fault, PluginFault::api_major);
  EXPECT_EQ(major.refusal.reason,
            "built for API 7.0, this host speaks 2.0: rebuild it with SDK 2.x, or update Quiver");
  ASSERT_TRUE(major.descriptor);
  EXPECT_EQ(major.descriptor->name, "subject-good");

  const auto minor = after([](quiver_descriptor& d) { d.api_minor = 3; });
  EXPECT_EQ(minor.refusal.fault, PluginFault::api_minor);
  EXPECT_EQ(minor.refusal.reason,
            "built for API 2.3, this host speaks 2.0: update Quiver, or rebuild it with SDK 2.0");
  ASSERT_TRUE(minor.descriptor);
  EXPECT_EQ(minor.descriptor->offers.size(), 1U);
}

TEST(ElfDescriptor, JudgesTheApiBeforeWhatItMayHaveChanged) {
  const auto reading = after([](quiver_descriptor& d) {
    d.api_major = 3;
    d.size = 3;
    d.offer_size = 1;
    std::memset(d.version, 'x', sizeof d.version);
  });
  EXPECT_EQ(reading.refusal.fault, PluginFault::api_major);
}

TEST(ElfDescriptor, AcceptsAnOlderMinor) {
  HostApi newer = host_api();
  newer.api_minor = 5;
  EXPECT_FALSE(read_descriptor(good_bytes(), newer).refusal);
}

TEST(ElfDescriptor, RefusesAnotherStamp) {
  const auto reading = after([](quiver_descriptor& d) { set_text(d.abi_stamp, "another ABI"); });
  EXPECT_EQ(reading.refusal.fault, PluginFault::abi_stamp);
  EXPECT_THAT(reading.refusal.reason, HasSubstr("\"another ABI\""));
  EXPECT_THAT(reading.refusal.reason, HasSubstr(QUIVER_ABI_STAMP));
}

TEST(ElfDescriptor, RefusesTextsThatAreNone) {
  const std::function<void(quiver_descriptor&)> changes[] = {
      [](quiver_descriptor& d) { std::memset(d.name, 'a', sizeof d.name); },
      [](quiver_descriptor& d) { set_text(d.name, "Capital"); },
      [](quiver_descriptor& d) { set_text(d.name, ""); },
      [](quiver_descriptor& d) { set_text(d.name, "../up"); },
      [](quiver_descriptor& d) { set_text(d.version, "1 0"); },
      [](quiver_descriptor& d) { set_text(d.license, ""); },
      [](quiver_descriptor& d) { std::memset(d.summary, 'a', sizeof d.summary); },
      [](quiver_descriptor& d) { set_text(d.summary, "\x1b[2Jgone"); },
      [](quiver_descriptor& d) { set_text(d.summary, "two\nlines"); },
      [](quiver_descriptor& d) { set_text(d.summary, "\xc3("); },
      [](quiver_descriptor& d) { set_text(d.summary, "\xe2\x80\xae turned"); },
      [](quiver_descriptor& d) { std::memset(d.abi_stamp, 'a', sizeof d.abi_stamp); }};
  for (std::size_t i = 0; i < std::size(changes); ++i) {
    EXPECT_EQ(after(changes[i]).refusal.fault, PluginFault::bad_descriptor) << "change " << i;
  }
  const auto umlaut = after([](quiver_descriptor& d) { set_text(d.summary, "schön € 🙂"); });
  EXPECT_FALSE(umlaut.refusal) << umlaut.refusal.reason;
}

TEST(ElfDescriptor, RefusesOffersThatMakeNoSense) {
  const std::function<void(quiver_descriptor&)> changes[] = {
      [](quiver_descriptor& d) { d.offers[0].kind = 77; },
      [](quiver_descriptor& d) { d.offers[0].kind = QUIVER_KIND_NONE; },
      [](quiver_descriptor& d) { d.offers[0].kind = QUIVER_KIND_ARCHITECTURE; },
      [](quiver_descriptor& d) { set_text(d.offers[0].name, "has blank"); },
      [](quiver_descriptor& d) { set_text(d.offers[0].model_types, "wagon"); },
      [](quiver_descriptor& d) { d.offers[1] = d.offers[0]; },
      [](quiver_descriptor& d) {
        d.offers[0].kind = QUIVER_KIND_ARCHITECTURE;
        set_text(d.offers[0].model_types, "wagon,,cart");
      },
      [](quiver_descriptor& d) {
        d.offers[0].kind = QUIVER_KIND_ARCHITECTURE;
        set_text(d.offers[0].model_types, "wagon,");
      }};
  for (std::size_t i = 0; i < std::size(changes); ++i) {
    EXPECT_EQ(after(changes[i]).refusal.fault, PluginFault::bad_descriptor) << "change " << i;
  }
}

TEST(ElfDescriptor, TakesAFullTableOfOffers) {
  const auto reading = after([](quiver_descriptor& d) {
    for (int i = 0; i < QUIVER_MAX_OFFERS; ++i) {
      d.offers[i] = d.offers[0];
      set_text(d.offers[i].name, "offer-" + std::to_string(i));
    }
  });
  ASSERT_TRUE(reading.descriptor);
  EXPECT_EQ(reading.descriptor->offers.size(), std::size_t{QUIVER_MAX_OFFERS});
}

TEST(ElfDescriptor, RefusesAPluginWithoutItsSymbol) {
  const auto reading = read_descriptor(read_bytes(subject("subject-no-entry")), host_api());
  EXPECT_EQ(reading.refusal.fault, PluginFault::no_entry_symbol);
  EXPECT_THAT(reading.refusal.reason, HasSubstr("quiver_plugin"));
  ASSERT_TRUE(reading.descriptor);
  EXPECT_EQ(reading.descriptor->name, "subject-no-entry");
}

TEST(ElfDescriptor, RefusesASymbolOfAnotherName) {
  std::vector<std::byte> bytes = good_bytes();
  // With its final zero only: linkers let a name share the tail of a longer one.
  constexpr std::string_view kName("quiver_plugin\0", 14);
  const auto* const name = reinterpret_cast<const std::byte*>(kName.data());
  for (auto at = bytes.begin();; ++at) {
    at = std::search(at, bytes.end(), name, name + kName.size());
    if (at == bytes.end()) break;
    *at = std::byte{'x'};
  }
  EXPECT_EQ(read_descriptor(bytes, host_api()).refusal.fault, PluginFault::no_entry_symbol);
}

TEST(ElfDescriptor, SurvivesDamageAnywhere) {
  const std::vector<std::byte> good = good_bytes();
  std::mt19937 random(7);
  // Damage that matters is in the headers at the front and the section table at the end.
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::byte> bytes = good;
    for (int i = 0; i < 4; ++i) {
      const std::size_t reach = 2500;
      const std::size_t at = random() % reach;
      const std::size_t index = random() % 2 == 0 ? at : bytes.size() - 1 - at;
      bytes[index] = static_cast<std::byte>(random());
    }
    const DescriptorReading reading = read_descriptor(bytes, host_api());
    EXPECT_TRUE(reading.refusal || reading.descriptor);
  }
}

}  // namespace
}  // namespace quiver
