// WebP through libwebp, as RGB.
#include "core/image/decoders.hpp"
#include "core/image/orientation.hpp"

#include <memory>

#include <webp/decode.h>
#include <webp/demux.h>

namespace quiver::image {
namespace {

struct DeleteDemuxer {
  void operator()(WebPDemuxer* demuxer) const noexcept { WebPDemuxDelete(demuxer); }
};
struct DeleteAnimation {
  void operator()(WebPAnimDecoder* decoder) const noexcept { WebPAnimDecoderDelete(decoder); }
};

WebPData data_of(const Source& source) {
  return {reinterpret_cast<const std::uint8_t*>(source.file.data()), source.file.size()};
}

const char* reason(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY: return "there is not enough memory for it";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "it uses a feature that libwebp does not know";
    case VP8_STATUS_NOT_ENOUGH_DATA: return "it ends early";
    default: return "its data is corrupt";
  }
}

int orientation(const Source& source) {
  const WebPData data = data_of(source);
  const std::unique_ptr<WebPDemuxer, DeleteDemuxer> demuxer(WebPDemux(&data));
  if (!demuxer) return 1;
  WebPChunkIterator chunk;
  if (WebPDemuxGetChunk(demuxer.get(), "EXIF", 1, &chunk) == 0) return 1;
  const int found = exif_orientation(std::as_bytes(std::span(chunk.chunk.bytes, chunk.chunk.size)));
  WebPDemuxReleaseChunkIterator(&chunk);
  return found;
}

void decode_still(const Source& source, Picture& picture) {
  const WebPData data = data_of(source);
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) {
    throw Error(ErrorCode::internal, "libwebp is of another version than its headers");
  }
  picture.rgb.resize(picture_bytes(picture.size()));
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = picture.rgb.data();
  config.output.u.RGBA.stride = picture.width * 3;
  config.output.u.RGBA.size = picture.rgb.size();
  const VP8StatusCode status = WebPDecode(data.bytes, data.size, &config);
  WebPFreeDecBuffer(&config.output);
  if (status != VP8_STATUS_OK) source.fail("WebP", reason(status));
}

/// The first frame alone may cover a part of the canvas only, so the canvas is what is read.
void decode_first_frame(const Source& source, Picture& picture) {
  const WebPData data = data_of(source);
  WebPAnimDecoderOptions options;
  if (WebPAnimDecoderOptionsInit(&options) == 0) {
    throw Error(ErrorCode::internal, "libwebp is of another version than its headers");
  }
  options.color_mode = MODE_RGBA;
  const std::unique_ptr<WebPAnimDecoder, DeleteAnimation> decoder(
      WebPAnimDecoderNew(&data, &options));
  std::uint8_t* canvas = nullptr;
  int time = 0;
  if (!decoder || WebPAnimDecoderGetNext(decoder.get(), &canvas, &time) == 0) {
    source.fail("WebP", "its animation is corrupt or ends early");
  }
  picture.rgb.resize(picture_bytes(picture.size()));
  for (std::size_t i = 0; i < picture.rgb.size() / 3; ++i) {
    for (std::size_t c = 0; c < 3; ++c) picture.rgb[3 * i + c] = canvas[4 * i + c];
  }
}

}  // namespace

Decoded decode_webp(const Source& source) {
  const WebPData data = data_of(source);
  WebPBitstreamFeatures features;
  const VP8StatusCode status = WebPGetFeatures(data.bytes, data.size, &features);
  if (status != VP8_STATUS_OK) source.fail("WebP", reason(status));
  const PictureSize size =
      source.allow(static_cast<unsigned>(features.width), static_cast<unsigned>(features.height));
  Decoded decoded;
  decoded.picture.width = size.width;
  decoded.picture.height = size.height;
  if (features.has_animation != 0) {
    decode_first_frame(source, decoded.picture);
  } else {
    decode_still(source, decoded.picture);
  }
  decoded.orientation = orientation(source);
  return decoded;
}

}  // namespace quiver::image
