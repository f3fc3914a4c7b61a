//! Asking a TPM 2.0 over its device: an NV index, the platform's registers, a quote.
//!
//! Commands and answers are those of TPM 2.0 Library, part 3; only what is needed here is written.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bytes::{Rest, Truncated};

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const NV_READ: u32 = 0x14e;
const QUOTE: u32 = 0x158;
const NV_READ_PUBLIC: u32 = 0x169;
const PCR_READ: u32 = 0x17e;
const OWNER: u32 = 0x4000_0001;
/// An authorisation by an empty password: session TPM_RS_PW, no nonce, no attributes, no password.
const EMPTY_PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
const ALG_NULL: u16 = 0x0010;
const SHA256: u16 = 0x000b;
/// The most that every TPM gives of an index at once.
const NV_CHUNK: u16 = 512;
const MOST_ANSWER: usize = 8192;
const HEADER: usize = 10;
/// A TPM that does not answer is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_RETRY: the command was not begun and is to be sent again.
const NOT_NOW: [u32; 3] = [0x908, 0x90a, 0x922];
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// A TPM that does not give what it is asked for.
#[derive(thiserror::Error, Debug)]
pub enum TpmError {
    /// It cannot be reached.
    #[error("tpm: it cannot be asked")]
    Io(#[from] io::Error),
    /// It refuses.
    #[error("tpm: {what}: refused with code {code:#x}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// TPM_RC.
        code: u32,
    },
    /// The answer cannot be read.
    #[error("tpm: {what}: the answer {source}")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// Why.
        #[source]
        source: Truncated,
    },
    /// It gives no registers.
    #[error("tpm: it has no registers of the SHA-256 bank")]
    NoRegisters,
}

/// A quote and its signature, as the TPM gave them.
pub struct Quoted {
    /// TPMS_ATTEST.
    pub quote: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
}

trait Channel: Read + Write {}
impl<T: Read + Write> Channel for T {}

/// A TPM.
pub struct Tpm {
    channel: Box<dyn Channel>,
}

impl Tpm {
    /// Opens a device such as `/dev/tpmrm0`, or the socket of a TPM in software.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self, TpmError> {
        let channel: Box<dyn Channel> = if std::fs::metadata(path)?.file_type().is_socket() {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Box::new(stream)
        } else {
            Box::new(OpenOptions::new().read(true).write(true).open(path)?)
        };
        Ok(Self { channel })
    }

    /// The bytes of an NV index that the owner may read with an empty password.
    ///
    /// # Errors
    /// There is no such index, or it may not be read.
    pub fn nv_read(&mut self, index: u32) -> Result<Vec<u8>, TpmError> {
        const WHAT: &str = "nv index";
        let answer = self.ask(WHAT, NO_SESSIONS, NV_READ_PUBLIC, &index.to_be_bytes())?;
        let size = read(WHAT, || {
            let mut public = Rest(Rest(&answer).sized("public area")?);
            public.take(10, "public area")?;
            public.sized("policy")?;
            public.u16_be("size")
        })?;
        let mut content = Vec::with_capacity(usize::from(size));
        while content.len() < usize::from(size) {
            let offset = u16::try_from(content.len()).expect("the index has so many bytes at most");
            let mut command = [OWNER.to_be_bytes(), index.to_be_bytes()].concat();
            command.extend(EMPTY_PASSWORD);
            command.extend((size - offset).min(NV_CHUNK).to_be_bytes());
            command.extend(offset.to_be_bytes());
            let answer = self.ask(WHAT, SESSIONS, NV_READ, &command)?;
            let part = read(WHAT, || parameters(&answer)?.sized("content").map(<[u8]>::to_vec))?;
            if part.is_empty() {
                return Err(TpmError::Answer { what: WHAT, source: Truncated("content") });
            }
            content.extend(part);
        }
        Ok(content)
    }

    /// A quote over registers 0 to 23 of the SHA-256 bank by a key at a persistent handle, with a nonce.
    ///
    /// # Errors
    /// There is no such key, or it does not sign.
    pub fn quote(&mut self, key: u32, nonce: &[u8; 32]) -> Result<Quoted, TpmError> {
        const WHAT: &str = "quote";
        let mut command = key.to_be_bytes().to_vec();
        command.extend(EMPTY_PASSWORD);
        command.extend([0, 32]);
        command.extend(nonce);
        command.extend(ALG_NULL.to_be_bytes());
        command.extend(selection([0xff; 3]));
        let answer = self.ask(WHAT, SESSIONS, QUOTE, &command)?;
        read(WHAT, || {
            let mut rest = parameters(&answer)?;
            let quote = rest.sized("quote")?.to_vec();
            Ok(Quoted { quote, signature: rest.0.to_vec() })
        })
    }

    /// Registers 0 to 23 of the SHA-256 bank, in hex.
    ///
    /// # Errors
    /// There are none.
    pub fn registers(&mut self) -> Result<BTreeMap<u8, String>, TpmError> {
        const WHAT: &str = "registers";
        let mut found = BTreeMap::new();
        let mut open = [0xff_u8; 3];
        // A TPM gives eight at once at most, and says which.
        while open != [0; 3] {
            let answer = self.ask(WHAT, NO_SESSIONS, PCR_READ, &selection(open))?;
            let (given, values) = read(WHAT, || {
                let mut rest = Rest(&answer);
                rest.take(4 + 4 + 2 + 1, "selection")?;
                let given = *rest.array::<3>("selection")?;
                let count = rest.u32_be("values")?;
                let values: Result<Vec<_>, _> =
                    (0..count.min(24)).map(|_| rest.sized("value").map(hex::encode)).collect();
                Ok((given, values?))
            })?;
            let numbers = (0..24_u8).filter(|number| given[usize::from(number / 8)] & (1 << (number % 8)) != 0);
            let before = found.len();
            found.extend(numbers.zip(values));
            if found.len() == before {
                return Err(TpmError::NoRegisters);
            }
            open.iter_mut().zip(given).for_each(|(open, given)| *open &= !given);
        }
        Ok(found)
    }

    /// Sends a command and gives what follows the answer's header.
    fn ask(&mut self, what: &'static str, tag: u16, code: u32, body: &[u8]) -> Result<Vec<u8>, TpmError> {
        let size = u32::try_from(HEADER + body.len()).expect("a command has some hundred bytes");
        let mut command = tag.to_be_bytes().to_vec();
        command.extend(size.to_be_bytes());
        command.extend(code.to_be_bytes());
        command.extend(body);
        let begun = Instant::now();
        loop {
            match self.exchange(what, &command) {
                Err(TpmError::Refused { code, .. }) if NOT_NOW.contains(&code) && begun.elapsed() < PATIENCE => {
                    std::thread::sleep(BETWEEN_TRIES);
                }
                other => return other,
            }
        }
    }

    fn exchange(&mut self, what: &'static str, command: &[u8]) -> Result<Vec<u8>, TpmError> {
        // A device takes a command by one write and gives the answer by one read.
        self.channel.write_all(command)?;
        let mut answer = vec![0; MOST_ANSWER];
        let mut length = self.channel.read(&mut answer)?;
        loop {
            let mut header = Rest(&answer[..length]);
            let told = header.take(2, "header").and_then(|_| Ok((header.u32_be("header")?, header.u32_be("header")?)));
            match told {
                Ok((_, code)) if code != 0 => return Err(TpmError::Refused { what, code }),
                Ok((size, _)) if size as usize <= length => return Ok(header.0.to_vec()),
                _ if length == answer.len() => return Err(TpmError::Answer { what, source: Truncated("answer") }),
                _ => match self.channel.read(&mut answer[length..])? {
                    0 => return Err(TpmError::Answer { what, source: Truncated("answer") }),
                    more => length += more,
                },
            }
        }
    }
}

fn read<T>(what: &'static str, parts: impl FnOnce() -> Result<T, Truncated>) -> Result<T, TpmError> {
    parts().map_err(|source| TpmError::Answer { what, source })
}

/// The parameters of an answer to an authorised command, which follow their length.
fn parameters(answer: &[u8]) -> Result<Rest<'_>, Truncated> {
    let mut rest = Rest(answer);
    let size = rest.u32_be("parameters")?;
    rest.take(usize::try_from(size).unwrap_or(usize::MAX), "parameters").map(Rest)
}

/// A selection of registers of the SHA-256 bank (TPML_PCR_SELECTION).
fn selection(registers: [u8; 3]) -> Vec<u8> {
    let mut selection = 1_u32.to_be_bytes().to_vec();
    selection.extend(SHA256.to_be_bytes());
    selection.push(3);
    selection.extend(registers);
    selection
}
