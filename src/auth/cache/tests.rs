use super::*;
use crate::auth::Provenance;
use crate::auth::bearer::raw_token;
use crate::auth::keys::Fingerprint;

const MIB: u64 = 1024 * 1024;
const LIMITS: CacheLimits = CacheLimits { entries: 256, bytes: MIB };

fn token(claims_bytes: usize) -> Arc<VerifiedToken> {
    Arc::new(VerifiedToken {
        claims: "x".repeat(claims_bytes).into(),
        expires_at: 0,
        issuer: "issuer".into(),
        subject_hash: "0123456789abcdef".into(),
        role: None,
        provenance: Provenance {
            issuer: 0,
            key: Fingerprint::default(),
            remembered_until: 0,
            marks: None,
        },
    })
}

fn id(cache: &TokenCache, text: &str) -> TokenId {
    let mut headers = hyper::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {text}").parse().unwrap());
    cache.id_of(raw_token(&headers).unwrap().unwrap())
}

/// How many of `insertions` tokens with claims of this size are still there, and the bytes of the table.
fn held_after(limits: CacheLimits, insertions: usize, claims_bytes: usize) -> (usize, usize) {
    let cache = TokenCache::new(limits).unwrap();
    for n in 0..insertions {
        cache.remember(id(&cache, &format!("t{n}")), token(claims_bytes));
    }
    let held =
        (0..insertions).filter(|n| cache.get(&id(&cache, &format!("t{n}"))).is_some()).count();
    (held, cache.entries.as_ref().unwrap().memory_used().total())
}

#[test]
fn remembers_until_forgotten() {
    let cache = TokenCache::new(LIMITS).unwrap();
    let known = id(&cache, "a.b.c");
    cache.remember(known.clone(), token(1));

    assert!(cache.get(&known).is_some());
    assert!(cache.get(&id(&cache, "a.b.d")).is_none());

    cache.forget(&known);
    assert!(cache.get(&known).is_none());
}

#[test]
fn entries_are_bounded_however_small_they_are() {
    let (held, _) = held_after(LIMITS, LIMITS.entries * 8, 1);
    assert!(held > LIMITS.entries / 2 && held <= LIMITS.entries, "{held} entries");
}

#[test]
fn all_bytes_of_entries_are_bounded_however_large_they_are() {
    let few_bytes = CacheLimits { entries: 30_000, bytes: 2 * MIB };
    let many_bytes = CacheLimits { entries: 4096, bytes: 8 * MIB };
    let cases = [1, 1000, 8 * 1024, 16 * 1024].map(|size| [(few_bytes, size), (many_bytes, size)]);
    for (limits, claims_bytes) in cases.into_iter().flatten() {
        let (held, table) = held_after(limits, 20_000, claims_bytes);
        let bytes = held * token(claims_bytes).bytes() + table;
        assert!(held > 0, "{claims_bytes}");
        assert!(bytes as u64 <= limits.bytes, "{claims_bytes}: {held} entries in {bytes} bytes");
    }
}

#[test]
fn tokens_in_use_stay_while_a_hundred_thousand_others_pass() {
    const IN_USE: usize = 500;
    const ONE_OFF: usize = 100_000;
    // From one request of each for ten strangers' to one for four hundred.
    for strangers_each in [10, 100, 400] {
        let cache = TokenCache::new(CacheLimits { entries: 2000, bytes: 4 * MIB }).unwrap();
        let regular: Vec<TokenId> =
            (0..IN_USE).map(|n| id(&cache, &format!("regular{n}"))).collect();
        for _ in 0..2 {
            for known in &regular {
                if cache.get(known).is_none() {
                    cache.remember(known.clone(), token(500));
                }
            }
        }
        let mut lost = 0;
        for n in 0..ONE_OFF {
            cache.remember(id(&cache, &format!("stranger{n}")), token(500));
            if n % strangers_each == 0 {
                let known = &regular[n / strangers_each % IN_USE];
                if cache.get(known).is_none() {
                    lost += 1;
                    cache.remember(known.clone(), token(500));
                }
            }
        }
        let left = regular.iter().filter(|known| cache.get(known).is_some()).count();
        assert_eq!((left, lost), (IN_USE, 0), "one request for {strangers_each} of strangers");
    }
}

#[test]
fn a_token_that_comes_into_use_during_a_flood_is_soon_remembered_for_good() {
    let cache = TokenCache::new(CacheLimits { entries: 2000, bytes: 4 * MIB }).unwrap();
    for n in 0..20_000 {
        cache.remember(id(&cache, &format!("before{n}")), token(500));
    }
    let known = id(&cache, "regular");
    let mut verified = 0;
    for n in 0..100_000 {
        cache.remember(id(&cache, &format!("stranger{n}")), token(500));
        if n % 300 == 0 && cache.get(&known).is_none() {
            verified += 1;
            cache.remember(known.clone(), token(500));
        }
    }
    assert!(verified <= 3, "verified {verified} times");
}

#[test]
fn no_entries_means_no_cache() {
    let cache = TokenCache::new(CacheLimits { entries: 0, bytes: MIB }).unwrap();
    let known = id(&cache, "a.b.c");
    cache.remember(known.clone(), token(1));
    assert!(cache.get(&known).is_none());
}

#[test]
fn ids_differ_between_processes() {
    let (one, two) = (TokenCache::new(LIMITS).unwrap(), TokenCache::new(LIMITS).unwrap());
    assert!(id(&one, "a.b.c") != id(&two, "a.b.c"));
}
