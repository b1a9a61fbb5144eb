//! QR codes, on a terminal and on a page.

use qrcode::QrCode;
use qrcode::render::{svg, unicode::Dense1x2};

/// The text does not fit into a QR code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too long for a QR code")]
pub struct TooLong;

/// `text` as a picture of half-block characters, two modules a line.
///
/// Light modules are drawn and dark ones left out, which is right on a dark terminal; scanners read the inverse as well.
///
/// # Errors
/// [`TooLong`] beyond what the largest code holds, 2,953 bytes at most.
pub fn picture(text: &str) -> Result<String, TooLong> {
    Ok(code(text)?.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

/// `text` as an SVG image, black on white.
///
/// # Errors
/// [`TooLong`], as for [`picture`].
pub fn svg(text: &str) -> Result<String, TooLong> {
    Ok(code(text)?.render::<svg::Color<'_>>().min_dimensions(240, 240).build())
}

/// A screen gets no scratches: the least redundancy keeps the modules large.
fn code(text: &str) -> Result<QrCode, TooLong> {
    QrCode::with_error_correction_level(text, qrcode::EcLevel::L).map_err(|_| TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_framed_and_square() {
        let picture = picture("dsip:did:key:z6Mkg9oRSg6APtrMJP8iekQm8yPc9ore3E4SJ5bF7Cw1qFCu").expect("it fits");
        let lines: Vec<&str> = picture.lines().collect();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width));
        assert_eq!(lines.len(), width.div_ceil(2));
        assert!(lines[0].chars().all(|c| c == '█'), "the quiet zone is light");
    }

    #[test]
    fn an_image_is_black_on_white() {
        let image = svg("dsip:did:key:z6Mkg9oRSg6APtrMJP8iekQm8yPc9ore3E4SJ5bF7Cw1qFCu").expect("it fits");
        assert!(image.contains("<svg") && image.contains("#000") && image.contains("#fff"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(picture(&"x".repeat(3000)), Err(TooLong));
    }
}
