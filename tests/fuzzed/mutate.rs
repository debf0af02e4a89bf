//! Changes to bytes that were right before.

use proptest::prelude::*;

/// One change; places are taken modulo what is there.
#[derive(Debug, Clone)]
pub enum Change {
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    /// A piece of it, so many times.
    Repeat(usize, usize, usize),
    /// Its beginning, and the end of another.
    Splice(usize, usize),
    Cut(usize),
}

/// What readers look for.
const TOKENS: [&[u8]; 16] = [
    b"\0",
    b"\r\n",
    b"..",
    b"/../",
    b"://",
    b"%00",
    b"@",
    b"&a ",
    b"*a",
    b"<<: ",
    b"${ANCHORE",
    b"\xff\xff\xff\xff",
    b"\"",
    b"\\u0000",
    b"1e999",
    b"-1",
];

impl Arbitrary for Change {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> BoxedStrategy<Self> {
        let at = any::<usize>;
        let token = prop::sample::select(TOKENS.to_vec()).prop_map(<[u8]>::to_vec);
        prop_oneof![
            (at(), any::<u8>()).prop_map(|(at, bits)| Self::Flip(at, bits)),
            (at(), prop::collection::vec(any::<u8>(), 1..9))
                .prop_map(|(at, b)| Self::Insert(at, b)),
            (at(), token).prop_map(|(at, token)| Self::Insert(at, token)),
            (at(), 1..64_usize).prop_map(|(at, len)| Self::Remove(at, len)),
            (at(), 1..64_usize, 2..64_usize).prop_map(|(at, len, n)| Self::Repeat(at, len, n)),
            (at(), at()).prop_map(|(at, from)| Self::Splice(at, from)),
            at().prop_map(Self::Cut),
        ]
        .boxed()
    }
}

impl Change {
    pub fn make(self, data: &mut Vec<u8>, other: &[u8]) {
        let length = data.len();
        let place = |at: usize| at % (length + 1);
        let piece = |at: usize, len: usize| place(at)..(place(at) + len).min(length);
        match self {
            Self::Flip(at, bits) if length > 0 => data[at % length] ^= bits,
            Self::Flip(..) => {}
            Self::Insert(at, bytes) => drop(data.splice(place(at)..place(at), bytes)),
            Self::Remove(at, len) => drop(data.drain(piece(at, len))),
            Self::Repeat(at, len, times) => {
                let again = data[piece(at, len)].repeat(times);
                drop(data.splice(place(at)..place(at), again));
            }
            Self::Splice(at, from) => {
                data.truncate(place(at));
                data.extend(&other[from % (other.len() + 1)..]);
            }
            Self::Cut(at) => data.truncate(place(at)),
        }
    }
}
