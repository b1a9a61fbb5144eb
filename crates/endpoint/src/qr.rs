//! QR codes on a terminal.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

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
    let code = QrCode::with_error_correction_level(text, qrcode::EcLevel::L).map_err(|_| TooLong)?;
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
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
    fn what_does_not_fit_is_refused() {
        assert_eq!(picture(&"x".repeat(3000)), Err(TooLong));
    }
}
