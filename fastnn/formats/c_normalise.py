"""The normalisation of drawings in C, line by line as in :mod:`fastnn.kernels.normalise`."""

from fastnn.kernels.normalise import BOX, CENTRE, FAINT, LEAST, ROUNDS
from fastnn.kernels.records import SIDE

_TEMPLATE = """
/* Size of a drawing, which may be another one if it is defined before this file is included. */
#ifndef @P@_HEIGHT
#define @P@_HEIGHT #SIDE#
#endif
#ifndef @P@_WIDTH
#define @P@_WIDTH #SIDE#
#endif

/* Find the rows and columns with ink of at least an eighth of the darkest, which is returned. */
static inline int @p@_bounds(const uint8_t *ink, int height, int width, int *box)
{
    int x, y, darkest = 0;
    for (x = 0; x < height * width; x++)
        darkest = ink[x] > darkest ? ink[x] : darkest;
    box[0] = height;
    box[1] = width;
    box[2] = box[3] = 0;
    for (y = 0; y < height; y++)
        for (x = 0; x < width; x++)
            if (ink[y * width + x] > 0 && #FAINT# * ink[y * width + x] >= darkest) {
                box[0] = y < box[0] ? y : box[0];
                box[1] = x < box[1] ? x : box[1];
                box[2] = y + 1;
                box[3] = x + 1 > box[3] ? x + 1 : box[3];
            }
    return darkest;
}

/* Return the first source pixel of an output pixel; fill in how many there are, and their weights. */
static inline int @p@_sources(double start, double scale, int length, int position, int *count, double *weights)
{
    double from = start + position * scale, to = start + (position + 1) * scale, centre, share;
    int i, first, end;
    if (scale > 1.0) {
        first = from > 0.0 ? (int)floor(from) : 0;
        end = ceil(to) < length ? (int)ceil(to) : length;
        for (i = first; i < end; i++) {
            share = (to < i + 1.0 ? to : i + 1.0) - (from > i ? from : i);
            weights[i - first] = (share > 0.0 ? share : 0.0) / scale;
        }
        *count = end > first ? end - first : 0;
        return first;
    }
    centre = start + (position + 0.5) * scale - 0.5;
    first = (int)floor(centre);
    share = centre - first;
    *count = 0;
    if (first < -1 || first >= length)
        return 0;
    if (first == -1) {
        weights[0] = share;
        *count = 1;
        return 0;
    }
    weights[0] = 1.0 - share;
    weights[1] = share;
    *count = first == length - 1 ? 1 : 2;
    return first;
}

/* Resample a window to height x width pixels, each `scale` source pixels wide. */
static inline void @p@_resample(const uint8_t *ink, const double *window, int height, int width, double *out)
{
    double rows[@P@_WIDTH], weights[@P@_HEIGHT + @P@_WIDTH + 2], total;
    const double top = window[0], left = window[1], scale = window[2];
    const double right = ceil(left + width * scale + 1.0);
    const int begin = left > 1.0 ? (int)floor(left - 1.0) : 0;
    const int end = right < @P@_WIDTH ? (int)right : @P@_WIDTH;
    int i, j, k, x, first, count;
    for (i = 0; i < height; i++) {
        first = @p@_sources(top, scale, @P@_HEIGHT, i, &count, weights);
        for (x = begin; x < end; x++)
            rows[x] = 0.0;
        for (k = 0; k < count; k++)
            for (x = begin; x < end; x++)
                rows[x] += weights[k] * ink[(first + k) * @P@_WIDTH + x];
        for (j = 0; j < width; j++) {
            first = @p@_sources(left, scale, @P@_WIDTH, j, &count, weights);
            total = 0.0;
            for (k = 0; k < count; k++)
                total += weights[k] * rows[first + k];
            out[i * #BOX# + j] = total;
        }
    }
}

/* Scale the drawing in `box` so that its longer side is #BOX# pixels; fill in where it is then. */
static inline void @p@_fit(const uint8_t *ink, int darkest, int *box, uint8_t *fitted)
{
    double out[#BOX# * #BOX#], window[3], peak, scale, tall, wide;
    double top = box[0], left = box[1], bottom = box[2], right = box[3];
    int i, j, round, height, width;
    for (round = 0; round < #ROUNDS#; round++) {
        tall = bottom - top;
        wide = right - left;
        scale = (tall > wide ? tall : wide) / #BOX#;
        height = (int)ceil(tall / scale - 1e-6);
        width = (int)ceil(wide / scale - 1e-6);
        height = height < 1 ? 1 : height > #BOX# ? #BOX# : height;
        width = width < 1 ? 1 : width > #BOX# ? #BOX# : width;
        /* The shorter side gets a part of a pixel on both ends, so that the aspect ratio is kept. */
        top = 0.5 * (top + bottom - height * scale);
        left = 0.5 * (left + right - width * scale);
        window[0] = top;
        window[1] = left;
        window[2] = scale;
        @p@_resample(ink, window, height, width, out);
        peak = 0.0;
        for (i = 0; i < height; i++)
            for (j = 0; j < width; j++)
                peak = out[i * #BOX# + j] > peak ? out[i * #BOX# + j] : peak;
        for (i = 0; i < #BOX#; i++)
            for (j = 0; j < #BOX#; j++)
                fitted[i * #BOX# + j] = i < height && j < width && peak > 0.0
                    ? (uint8_t)(out[i * #BOX# + j] * (darkest / peak) + 0.5) : 0;
        @p@_bounds(fitted, #BOX#, #BOX#, box);
        if (box[2] - box[0] == #BOX# || box[3] - box[1] == #BOX#)
            return;
        bottom = top + box[2] * scale;
        right = left + box[3] * scale;
        top += box[0] * scale;
        left += box[1] * scale;
    }
}

/* Write the drawing in `box` to a #SIDE# x #SIDE# image, with its centre of mass in row and column #CENTRE#. */
static inline void @p@_place(const uint8_t *ink, int stride, const int *box, uint8_t *result)
{
    const int height = box[2] - box[0], width = box[3] - box[1];
    int32_t mass = 0, down = 0, across = 0;
    int i, j, y, x, value;
    for (i = 0; i < height; i++)
        for (j = 0; j < width; j++) {
            value = ink[(box[0] + i) * stride + box[1] + j];
            mass += value;
            down += (int32_t)value * i;
            across += (int32_t)value * j;
        }
    /* Whole numbers, so that a second normalisation changes nothing. What is below 0 becomes 0. */
    down = 2 * (#CENTRE# * mass - down) + mass;
    across = 2 * (#CENTRE# * mass - across) + mass;
    y = down < 0 ? -1 : (int)(down / (2 * mass));
    x = across < 0 ? -1 : (int)(across / (2 * mass));
    y = y < 0 ? 0 : y > #SIDE# - height ? #SIDE# - height : y;
    x = x < 0 ? 0 : x > #SIDE# - width ? #SIDE# - width : x;
    for (i = 0; i < #SIDE# * #SIDE#; i++)
        result[i] = 255;
    for (i = 0; i < height; i++)
        for (j = 0; j < width; j++)
            result[(y + i) * #SIDE# + x + j] = (uint8_t)(255 - ink[(box[0] + i) * stride + box[1] + j]);
}

/* Crop a drawing, scale its longer side to #BOX# pixels and centre it, as the images were on which the network was
 * trained. Returns 0, and gives white paper (or a blank #SIDE# x #SIDE# image as it is), if nothing is drawn. */
static inline int @p@_normalise(const uint8_t *image, uint8_t *result)
{
    uint8_t ink[@P@_HEIGHT * @P@_WIDTH], fitted[#BOX# * #BOX#];
    int counts[256] = {0}, box[4];
    int32_t depth, seen = 0, total = 0;
    int x, y, step, tall, wide, darkest, paper = -1;
    for (y = 0; y < @P@_HEIGHT; y++) {
        step = y == 0 || y == @P@_HEIGHT - 1 || @P@_WIDTH == 1 ? 1 : @P@_WIDTH - 1;
        for (x = 0; x < @P@_WIDTH; x += step, total++)
            counts[image[y * @P@_WIDTH + x]]++;
    }
    /* The paper is as light as the upper quartile of the border, unless ink covers most of that. */
    while (4 * seen < 3 * total)
        seen += counts[++paper];
    if (paper < 128)
        paper = 255;
    for (x = 0; x < @P@_HEIGHT * @P@_WIDTH; x++) {
        depth = paper - image[x];
        ink[x] = depth > 0 ? (uint8_t)((depth * 255 + paper / 2) / paper) : 0;
    }
    darkest = @p@_bounds(ink, @P@_HEIGHT, @P@_WIDTH, box);
    if (darkest < #LEAST#) {
        for (x = 0; x < #SIDE# * #SIDE#; x++)
            result[x] = @P@_HEIGHT == #SIDE# && @P@_WIDTH == #SIDE# ? image[x] : 255;
        return 0;
    }
    tall = box[2] - box[0];
    wide = box[3] - box[1];
    if ((tall > wide ? tall : wide) == #BOX#) {
        @p@_place(ink, @P@_WIDTH, box, result);
        return 1;
    }
    @p@_fit(ink, darkest, box, fitted);
    @p@_place(fitted, #BOX#, box, result);
    return 1;
}
"""


def _filled() -> str:
    values = {"SIDE": SIDE, "BOX": BOX, "CENTRE": CENTRE, "FAINT": FAINT, "LEAST": LEAST, "ROUNDS": ROUNDS}
    text = _TEMPLATE
    for name, value in values.items():
        text = text.replace(f"#{name}#", str(value))
    return text


NORMALISE = _filled()
"""Functions in C; words between @ stand for the prefix of their names."""
