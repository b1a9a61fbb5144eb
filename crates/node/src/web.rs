//! The web phone: a page that is part of this program, and what a browser may do with it (`docs/spec/web.md`).
//!
//! `web/dist` is what `cargo x web` has built of `web/`. Nothing here knows a file of it by name but `index.html`; under `assets/` names
//! change with their content.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::http::{HeaderName, HeaderValue, Page, Request, header, tag};

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// WPH-5, WPH-9: what the page may load and reach. Phones dial the nodes of whom they call, wherever these are.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; \
    media-src 'self' blob: mediastream:; font-src 'self'; connect-src 'self' https: wss:; worker-src 'self'; \
    manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
    require-trusted-types-for 'script'; trusted-types dsip";

/// WPH-7: a phone hears, sees, shows its screen, stays awake and knows its owner by a passkey. It does not need to know
/// where it is.
const PERMISSIONS: &str = "camera=(self), microphone=(self), display-capture=(self), autoplay=(self), fullscreen=(self), \
    picture-in-picture=(self), screen-wake-lock=(self), clipboard-read=(self), clipboard-write=(self), \
    publickey-credentials-create=(self), publickey-credentials-get=(self), \
    accelerometer=(), geolocation=(), gyroscope=(), magnetometer=(), midi=(), payment=(), serial=(), usb=(), hid=()";

/// WPH-5 to WPH-7, for every file: workers and WASM go by what came with themselves.
const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("permissions-policy", PERMISSIONS),
    ("cross-origin-opener-policy", "same-origin"),    // WPH-6
    ("cross-origin-embedder-policy", "require-corp"), // WPH-6
    ("cross-origin-resource-policy", "same-origin"),  // WPH-6
    ("referrer-policy", "no-referrer"),               // WPH-6
];

/// The one file that has an address besides its name.
const INDEX: &str = "/index.html";

/// WPH-4: the forms in which a file may be there besides its own, the better first.
const FORMS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// WPH-3: files whose names change with their content.
const HASHED: &str = "/assets/";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

/// The files of the page.
pub(crate) struct Phone {
    files: BTreeMap<&'static str, File>,
}

struct File {
    kind: &'static str,
    kept: &'static str,
    plain: Form,
    compressed: Vec<(&'static str, Form)>,
}

/// What is sent, and its tag.
struct Form {
    content: &'static [u8],
    tag: String,
}

impl Form {
    fn of(content: &'static [u8]) -> Self {
        Self { content, tag: tag(content) }
    }
}

impl Phone {
    /// The one that is part of this program.
    pub(crate) fn new() -> Self {
        Self::of(FILES)
    }

    fn of(all: &'static [(&'static str, &'static [u8])]) -> Self {
        let is_form = |name: &str| {
            FORMS
                .iter()
                .any(|(_, end)| name.strip_suffix(end).is_some_and(|whole| all.iter().any(|(name, _)| *name == whole)))
        };
        let files = all.iter().filter(|(name, _)| !is_form(name)).map(|(name, content)| {
            let form = |(coding, end): &(&'static str, &str)| {
                let (_, content) = all.iter().find(|(other, _)| other.strip_suffix(end) == Some(name))?;
                Some((*coding, Form::of(content)))
            };
            let kept = if name.starts_with(HASHED) { FOR_EVER } else { ASK_AGAIN };
            let compressed = FORMS.iter().filter_map(form).collect();
            (*name, File { kind: kind(name), kept, plain: Form::of(content), compressed })
        });
        Self { files: files.collect() }
    }

    /// WPH-1: the file at a request's path, which is compared as it stands.
    pub(crate) fn page(&self, request: &Request) -> Option<Page> {
        let path = request.uri().path();
        let file = self.files.get(if path == "/" { INDEX } else { path })?;
        let chosen = file.compressed.iter().find(|(coding, _)| accepts(request, coding));
        let Form { content, tag } = chosen.map_or(&file.plain, |(_, form)| form);
        let mut page = Page::ok(file.kind, Bytes::from_static(content)).with(header::CACHE_CONTROL, file.kept);
        if let Some((coding, _)) = chosen {
            page = page.with(header::CONTENT_ENCODING, coding);
        }
        if !file.compressed.is_empty() {
            page = page.with(header::VARY, "Accept-Encoding");
        }
        for (name, value) in HEADERS {
            page.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Some(page.tagged(request, tag))
    }
}

/// WPH-2: what a file is.
fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "woff2" => "font/woff2",
        "mp3" => "audio/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Whether a request takes a coding (RFC 9110, 12.5.3).
fn accepts(request: &Request, coding: &str) -> bool {
    let lines = request.headers().get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let mut any = false;
    for offer in lines.flat_map(|line| line.split(',')) {
        let (name, weight) = offer.split_once(';').unwrap_or((offer, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        let is_taken = weight.is_ok_and(|weight| weight > 0.0);
        match name.trim() {
            name if name.eq_ignore_ascii_case(coding) => return is_taken,
            "*" => any = is_taken,
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::StatusCode;

    static SOME: &[(&str, &[u8])] = &[
        ("/assets/app-1a2b.js", b"let plain"),
        ("/assets/app-1a2b.js.br", b"brotli"),
        ("/assets/app-1a2b.js.gz", b"gzip"),
        ("/assets/rules-3c4d.wasm", b"\0asm"),
        ("/index.html", b"<!doctype html>"),
        ("/index.html.gz", b"zipped"),
        ("/lonely.gz", b"an archive"),
        ("/manifest.webmanifest", b"{}"),
        ("/sw.js", b"worker"),
    ];

    fn ask(path: &str, headers: &[(&'static str, &str)]) -> Option<Page> {
        let mut request = Request::new(());
        *request.uri_mut() = path.parse().expect("a path");
        for (name, value) in headers {
            request.headers_mut().append(HeaderName::from_static(name), value.parse().expect("a value"));
        }
        Phone::of(SOME).page(&request)
    }

    fn said(page: &Page, name: HeaderName) -> &str {
        page.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    #[test]
    fn wph_1_a_request_names_a_file_by_its_exact_path() {
        assert_eq!(ask("/", &[]).expect("there").body, ask("/index.html", &[]).expect("there").body);
        assert_eq!(ask("/?utm=1", &[]).expect("there").body, "<!doctype html>");
        for path in [
            "/index",
            "/INDEX.html",
            "/index.html/",
            "//index.html",
            "/./index.html",
            "/assets",
            "/assets/",
            "/assets/../index.html",
            "/%69ndex.html",
            "/assets%2fapp-1a2b.js",
            "/..%2f..%2fCargo.toml",
            "/../../Cargo.toml",
            "/assets/app-1a2b.js.br",
            "/index.html.gz",
            "/sw.js%00",
            "/sw.js.gz",
        ] {
            assert!(ask(path, &[]).is_none(), "{path}");
        }
    }

    #[test]
    fn wph_2_files_have_their_types() {
        for (path, kind) in [
            ("/", "text/html; charset=utf-8"),
            ("/sw.js", "text/javascript; charset=utf-8"),
            ("/assets/rules-3c4d.wasm", "application/wasm"),
            ("/manifest.webmanifest", "application/manifest+json"),
            ("/lonely.gz", "application/octet-stream"),
        ] {
            assert_eq!(said(&ask(path, &[]).expect("there"), header::CONTENT_TYPE), kind);
        }
    }

    #[test]
    fn wph_3_what_is_hashed_is_kept_and_the_rest_asked_for_again() {
        for (path, kept) in [("/assets/app-1a2b.js", FOR_EVER), ("/", ASK_AGAIN), ("/sw.js", ASK_AGAIN)] {
            let page = ask(path, &[]).expect("there");
            assert_eq!(said(&page, header::CACHE_CONTROL), kept);
            let tag = said(&page, header::ETAG).to_owned();
            assert_eq!((tag.len(), tag.starts_with('"')), (26, true), "{tag}");
            let again = ask(path, &[("if-none-match", &tag)]).expect("there");
            assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
            assert_eq!((said(&again, header::ETAG), said(&again, header::CACHE_CONTROL)), (&*tag, kept));
            assert_eq!(ask(path, &[("if-none-match", "\"other\"")]).expect("there").status, StatusCode::OK);
        }
    }

    #[test]
    fn wph_4_forms_go_to_those_who_take_them() {
        let app = "/assets/app-1a2b.js";
        for (offered, coding, body) in [
            (&["gzip, deflate, br, zstd"][..], "br", "brotli"),
            (&["gzip"], "gzip", "gzip"),
            (&["GZIP;q=0.5"], "gzip", "gzip"),
            (&["deflate", "br"], "br", "brotli"),
            (&["br;q=0, *"], "gzip", "gzip"),
            (&["*"], "br", "brotli"),
            (&["*;q=0"], "", "let plain"),
            (&["br;q=0, gzip;q=0.000"], "", "let plain"),
            (&["br;q=many, identity"], "", "let plain"),
            (&[",;,=;q"], "", "let plain"),
            (&[], "", "let plain"),
        ] {
            let headers: Vec<_> = offered.iter().map(|line| ("accept-encoding", *line)).collect();
            let page = ask(app, &headers).expect("there");
            assert_eq!((said(&page, header::CONTENT_ENCODING), &*page.body), (coding, body.as_bytes()), "{offered:?}");
            assert_eq!(said(&page, header::VARY), "Accept-Encoding");
            assert_eq!(said(&page, header::ETAG), tag(body.as_bytes()), "each form has its own");
        }
        assert_eq!(said(&ask("/sw.js", &[("accept-encoding", "br")]).expect("there"), header::VARY), "");
    }

    #[test]
    fn the_page_of_this_program_has_its_first_file() {
        assert!(Phone::new().files.contains_key(INDEX), "web/dist holds no index.html");
    }
}
