use super::rig::*;
use std::time::Instant;
#[test]
fn timing() {
    let nginx = ringshot_tests::servers::Nginx::start().unwrap();
    each(|case| {
        let t = Instant::now();
        let rig = Rig::new(case, |c| c);
        let a = t.elapsed();
        let _ = rig.fetch_all(vec![get(&nginx.url("/small"))]);
        let b = t.elapsed();
        rig.check_at_rest();
        let c = t.elapsed();
        drop(rig);
        eprintln!("{case} new {a:?} fetched {b:?} rest {c:?} dropped {:?}", t.elapsed());
    });
}
