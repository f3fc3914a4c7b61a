//! From the body of a request to the path of its prompt in the tree.
//!
//! The key is the prompt's bytes in the order in which the server will see them: of a completion the prompt, of a chat
//! the tools and then each message's role, content and tool calls, each ended by a zero byte. Texts count as they are
//! spelt in JSON, in one canonical spelling, which most of them have already: so a long prompt is hashed where it lies in
//! the body, without being unescaped or copied. Model and cache salt seed the hash, so equal prompts to two models never meet. A body in which no prompt is found has an empty path.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::scan::{Scanner, Text, canonical};
use crate::policy::{BYTES_PER_TOKEN, Work};
use crate::tree::chunk::{ChunkPlan, PathBuffers, PathHasher};

/// Most output tokens that a request is believed to want: a client that asks for a billion shall not distort the load.
const MOST_OUTPUT_TOKENS: u64 = 1 << 20;

/// Buffers for reading keys, kept between requests so that reading one allocates nothing.
#[derive(Debug, Default)]
pub struct KeyBuffers {
    hashes: PathBuffers,
    pieces: Vec<Piece>,
}

impl KeyBuffers {
    /// The path of the prompt read last.
    pub fn path(&self) -> &[u64] {
        &self.hashes.path
    }
}

/// A part of the body that belongs to the prompt.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    start: usize,
    end: usize,
    is_canonical: bool,
    /// False for a lone prompt: a chunk boundary there is one in the prompt itself.
    has_end_mark: bool,
}

impl Piece {
    fn of(text: Text) -> Self {
        Self { start: text.start, end: text.end, is_canonical: text.is_canonical, has_end_mark: true }
    }
}

/// Reads the key of `body` into `buffers` and returns the work that it asks for.
pub fn read_key(body: &[u8], plan: &ChunkPlan, buffers: &mut KeyBuffers) -> Work {
    buffers.hashes.path.clear();
    buffers.pieces.clear();
    let Some(fields) = Fields::read(body, &mut buffers.pieces) else {
        return Work { prompt_tokens: body.len() as u64 / BYTES_PER_TOKEN, ..Work::default() };
    };
    let seed = [(1, fields.model), (2, fields.cache_salt)].into_iter().fold(0, |seed, (field, text)| match text {
        Some(text) => xxh3_64_with_seed(&body[text.start..text.end], seed ^ field),
        None => seed,
    });
    let mut prompt_bytes = 0;
    let mut hasher = PathHasher::new(plan, seed, &mut buffers.hashes);
    for piece in fields.tools.iter().chain(&buffers.pieces) {
        let bytes = &body[piece.start..piece.end];
        prompt_bytes += bytes.len() as u64;
        if piece.is_canonical {
            hasher.update(bytes);
        } else {
            canonical(bytes, |part| hasher.update(part));
        }
        if piece.has_end_mark {
            hasher.update(&[0]);
        }
    }
    hasher.finish();
    Work {
        prompt_tokens: prompt_bytes / BYTES_PER_TOKEN,
        output_tokens: fields.output_tokens.min(MOST_OUTPUT_TOKENS),
        is_streamed: fields.is_streamed,
    }
}

#[derive(Debug, Default)]
struct Fields {
    model: Option<Text>,
    cache_salt: Option<Text>,
    tools: Option<Piece>,
    output_tokens: u64,
    is_streamed: bool,
}

impl Fields {
    fn read(body: &[u8], pieces: &mut Vec<Piece>) -> Option<Self> {
        let mut fields = Self::default();
        let mut scanner = Scanner::new(body);
        scanner.object(|scanner, key| {
            match key {
                b"model" => fields.model = text_or_skip(scanner)?,
                b"cache_salt" => fields.cache_salt = text_or_skip(scanner)?,
                b"tools" => fields.tools = Some(raw(scanner)?),
                // Of a field that is given twice the last one counts, as for the server.
                b"prompt" | b"input" => {
                    pieces.clear();
                    read_prompt(scanner, pieces)?;
                }
                b"messages" => {
                    pieces.clear();
                    read_messages(scanner, pieces)?;
                }
                b"stream" => {
                    fields.is_streamed = scanner.peek()? == b't';
                    scanner.skip()?;
                }
                b"max_tokens" | b"max_completion_tokens" => {
                    fields.output_tokens = fields.output_tokens.max(scanner.integer()?.unwrap_or(0));
                }
                _ => scanner.skip()?,
            }
            Some(())
        })?;
        Some(fields)
    }
}

/// A string, a list of token ids, or a list of several of either.
fn read_prompt(scanner: &mut Scanner<'_>, pieces: &mut Vec<Piece>) -> Option<()> {
    match scanner.peek()? {
        b'"' => {
            let text = Piece::of(scanner.string()?);
            pieces.push(Piece { has_end_mark: false, ..text });
            Some(())
        }
        b'[' => {
            let list = raw(scanner)?;
            // The brackets of a list of tokens are not part of the prompt; a second list begins a prompt of its own.
            pieces.push(Piece { start: list.start + 1, end: list.end - 1, has_end_mark: false, ..list });
            Some(())
        }
        _ => scanner.skip(),
    }
}

fn read_messages(scanner: &mut Scanner<'_>, pieces: &mut Vec<Piece>) -> Option<()> {
    if scanner.peek()? != b'[' {
        return scanner.skip();
    }
    scanner.array(|scanner| {
        if scanner.peek()? != b'{' {
            return scanner.skip();
        }
        // The server sees the role first, wherever it stands in the message.
        let role = pieces.len();
        pieces.push(Piece::default());
        scanner.object(|scanner, key| match key {
            b"role" => {
                pieces[role] = text_or_skip(scanner)?.map(Piece::of).unwrap_or_default();
                Some(())
            }
            b"content" => read_content(scanner, pieces),
            b"tool_calls" => {
                pieces.push(raw(scanner)?);
                Some(())
            }
            _ => scanner.skip(),
        })
    })
}

/// A text, or a list of parts of which the texts count as they read and all else as it stands.
fn read_content(scanner: &mut Scanner<'_>, pieces: &mut Vec<Piece>) -> Option<()> {
    match scanner.peek()? {
        b'"' => pieces.push(Piece::of(scanner.string()?)),
        b'[' => scanner.array(|scanner| {
            if scanner.peek()? != b'{' {
                pieces.push(raw(scanner)?);
                return Some(());
            }
            scanner.object(|scanner, key| {
                match (key, scanner.peek()?) {
                    (b"type", _) => scanner.skip()?,
                    (b"text", b'"') => pieces.push(Piece::of(scanner.string()?)),
                    _ => pieces.push(raw(scanner)?),
                }
                Some(())
            })
        })?,
        _ => scanner.skip()?,
    }
    Some(())
}

fn text_or_skip(scanner: &mut Scanner<'_>) -> Option<Option<Text>> {
    if scanner.peek()? == b'"' {
        return scanner.string().map(Some);
    }
    scanner.skip().map(|()| None)
}

/// A value as it stands.
fn raw(scanner: &mut Scanner<'_>) -> Option<Piece> {
    scanner.peek()?;
    let start = scanner.position();
    scanner.skip()?;
    Some(Piece { start, end: scanner.position(), is_canonical: true, has_end_mark: true })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn key(body: &str, chunk_bytes: u32) -> (Vec<u64>, Work) {
        let mut buffers = KeyBuffers::default();
        let work = read_key(body.as_bytes(), &ChunkPlan::fixed(chunk_bytes), &mut buffers);
        (buffers.path().to_vec(), work)
    }

    fn path(body: &str) -> Vec<u64> {
        key(body, 4).0
    }

    #[rstest]
    #[case::spaces(r#"{"model":"m","prompt":"abcdefgh"}"#, r#"{ "model" : "m" , "prompt" : "abcdefgh" }"#)]
    #[case::field_order(r#"{"model":"m","prompt":"abcdefgh"}"#, r#"{"prompt":"abcdefgh","model":"m"}"#)]
    #[case::escapes(r#"{"prompt":"ab\"cé/\n"}"#, r#"{"prompt":"ab\u0022c\u00e9\/\u000a"}"#)]
    #[case::other_fields(
        r#"{"prompt":"abcdefgh"}"#,
        r#"{"seed":1,"prompt":"abcdefgh","stop":["\"}"],"x":{"prompt":"no"}}"#
    )]
    #[case::role_order(
        r#"{"messages":[{"role":"user","content":"hi there"}]}"#,
        r#"{"messages":[{"content":"hi there","role":"user"}]}"#
    )]
    #[case::content_in_parts(
        r#"{"messages":[{"role":"user","content":"hi there"}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi there"}]}]}"#
    )]
    #[case::tools_after_messages(
        r#"{"tools":[{"a":1}],"messages":[{"role":"user","content":"hi"}]}"#,
        r#"{"messages":[{"role":"user","content":"hi"}],"tools":[{"a":1}]}"#
    )]
    fn the_same_prompt_has_the_same_path(#[case] one: &str, #[case] other: &str) {
        assert!(!path(one).is_empty());
        assert_eq!(path(one), path(other));
    }

    #[rstest]
    #[case::model(r#"{"model":"m","prompt":"abcd"}"#, r#"{"model":"n","prompt":"abcd"}"#)]
    #[case::salt(r#"{"cache_salt":"s","prompt":"abcd"}"#, r#"{"prompt":"abcd"}"#)]
    #[case::salt_is_no_model(r#"{"cache_salt":"s","prompt":"abcd"}"#, r#"{"model":"s","prompt":"abcd"}"#)]
    #[case::tools(
        r#"{"tools":[1],"messages":[{"role":"user","content":"hi"}]}"#,
        r#"{"messages":[{"role":"user","content":"hi"}]}"#
    )]
    #[case::order_of_messages(
        r#"{"messages":[{"role":"user","content":"abcd"},{"role":"user","content":"efgh"}]}"#,
        r#"{"messages":[{"role":"user","content":"efgh"},{"role":"user","content":"abcd"}]}"#
    )]
    #[case::where_a_message_ends(
        r#"{"messages":[{"role":"user","content":"abcd"},{"role":"user","content":"ef"}]}"#,
        r#"{"messages":[{"role":"user","content":"abc"},{"role":"user","content":"def"}]}"#
    )]
    #[case::tokens(r#"{"prompt":[1,22]}"#, r#"{"prompt":[1,32]}"#)]
    fn different_prompts_have_different_paths(#[case] one: &str, #[case] other: &str) {
        assert_ne!(path(one), path(other));
    }

    #[rstest]
    #[case::texts(r#"{"prompt":"abcdefgh"}"#, r#"{"prompt":"abcdefghijkl"}"#)]
    #[case::tokens(r#"{"prompt":[11,22,33]}"#, r#"{"prompt":[11,22,33,44,55]}"#)]
    #[case::a_longer_conversation(
        r#"{"messages":[{"role":"user","content":"hello world"}]}"#,
        r#"{"messages":[{"role":"user","content":"hello world"},{"role":"assistant","content":"yes"}]}"#
    )]
    fn a_longer_prompt_begins_with_the_shorter_ones_path(#[case] shorter: &str, #[case] longer: &str) {
        let (shorter, longer) = (path(shorter), path(longer));
        assert!(shorter.len() >= 2 && longer.len() > shorter.len());
        assert!(longer.starts_with(&shorter));
    }

    #[rstest]
    #[case::no_json("hello")]
    #[case::cut_off(r#"{"prompt":"abc"#)]
    #[case::no_prompt(r#"{"model":"m"}"#)]
    #[case::empty_prompt(r#"{"model":"m","prompt":""}"#)]
    #[case::empty("")]
    #[case::no_object("[]")]
    fn a_body_without_a_prompt_has_an_empty_path(#[case] body: &str) {
        assert!(path(body).is_empty());
    }

    #[rstest]
    #[case::completion(r#"{"prompt":"abcdefgh","max_tokens":100}"#, 2, 100, false)]
    #[case::chat_limit(r#"{"prompt":"abcdefgh","max_completion_tokens":7}"#, 2, 7, false)]
    #[case::beyond_reason(r#"{"prompt":"","max_tokens":99999999999}"#, 0, MOST_OUTPUT_TOKENS, false)]
    #[case::negative(r#"{"prompt":"","max_tokens":-5}"#, 0, 0, false)]
    #[case::streamed(r#"{"stream":true,"prompt":"abcd"}"#, 1, 0, true)]
    #[case::not_streamed(r#"{"stream": false ,"prompt":"abcd"}"#, 1, 0, false)]
    #[case::given_twice(r#"{"prompt":"abcdefghijkl","prompt":"abcd"}"#, 1, 0, false)]
    fn work_is_the_prompts_bytes_over_four_and_the_output_asked_for(
        #[case] body: &str,
        #[case] prompt_tokens: u64,
        #[case] output_tokens: u64,
        #[case] is_streamed: bool,
    ) {
        assert_eq!(key(body, 4).1, Work { prompt_tokens, output_tokens, is_streamed });
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in r#"[\[\]{}",:a-c0-9\\ ]{0,80}"#, prefix in prop::sample::select(vec![
            "", r#"{"prompt":"#, r#"{"messages":["#, r#"{"messages":[{"content":["#,
        ])) {
            key(&format!("{prefix}{body}"), 4);
        }
    }
}
