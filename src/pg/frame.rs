//! One backend message: a tag, a length, a body (protocol chapter "Message Formats").

use super::PgError;

/// Tag byte and four bytes of length.
const HEADER: usize = 5;
const TOO_SHORT: PgError = PgError::Protocol("a message ends too early");

/// A backend message whose body is borrowed from the connection's read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The message's type.
    pub tag: u8,
    /// What follows the length.
    pub body: &'a [u8],
}

/// The tags this program reads.
pub mod tag {
    /// `AuthenticationXXX`
    pub const AUTHENTICATION: u8 = b'R';
    /// `BackendKeyData`
    pub const BACKEND_KEY_DATA: u8 = b'K';
    /// `BindComplete`
    pub const BIND_COMPLETE: u8 = b'2';
    /// `CommandComplete`
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// `CopyInResponse`
    pub const COPY_IN: u8 = b'G';
    /// `CopyOutResponse`
    pub const COPY_OUT: u8 = b'H';
    /// `CopyBothResponse`
    pub const COPY_BOTH: u8 = b'W';
    /// `DataRow`
    pub const DATA_ROW: u8 = b'D';
    /// `CloseComplete`
    pub const CLOSE_COMPLETE: u8 = b'3';
    /// `EmptyQueryResponse`
    pub const EMPTY_QUERY: u8 = b'I';
    /// `ErrorResponse`
    pub const ERROR: u8 = b'E';
    /// `NoData`
    pub const NO_DATA: u8 = b'n';
    /// `NoticeResponse`
    pub const NOTICE: u8 = b'N';
    /// `NotificationResponse`
    pub const NOTIFICATION: u8 = b'A';
    /// `ParameterStatus`
    pub const PARAMETER_STATUS: u8 = b'S';
    /// `ParameterDescription`
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    /// `ParseComplete`
    pub const PARSE_COMPLETE: u8 = b'1';
    /// `ReadyForQuery`
    pub const READY: u8 = b'Z';
    /// `RowDescription`
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// The length of the first message in `bytes`, header included; `None` while the header is incomplete.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, PgError> {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length < 4 {
        return Err(PgError::Protocol("a message shorter than its own length field"));
    }
    Ok(Some(length + 1))
}

/// Reads the message that fills `bytes` exactly, as [`length`] measured it.
#[must_use]
pub fn whole(bytes: &[u8]) -> Frame<'_> {
    Frame { tag: bytes[0], body: &bytes[HEADER..] }
}

/// Reads big-endian integers and C strings off a message's body.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `body`.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], PgError> {
        let Some((head, tail)) = self.rest.split_at_checked(n) else { return Err(TOO_SHORT) };
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PgError> {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else { return Err(TOO_SHORT) };
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, PgError> {
        Ok(self.array::<1>()?[0])
    }

    /// Int16.
    pub fn i16(&mut self) -> Result<i16, PgError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Int16 that counts something.
    pub fn count(&mut self) -> Result<usize, PgError> {
        Ok(usize::from(u16::from_be_bytes(self.array()?)))
    }

    /// Int32.
    pub fn i32(&mut self) -> Result<i32, PgError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Int32 that holds an object id.
    pub fn oid(&mut self) -> Result<u32, PgError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A value of a `DataRow`: Int32 length (-1 for NULL), then the bytes.
    pub fn value(&mut self) -> Result<Option<&'a [u8]>, PgError> {
        match usize::try_from(self.i32()?) {
            Ok(length) => self.bytes(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// A NUL-terminated string, without its terminator.
    pub fn cstr(&mut self) -> Result<&'a [u8], PgError> {
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(PgError::Protocol("a string without its end"))?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
