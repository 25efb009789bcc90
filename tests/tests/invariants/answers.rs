pub struct M {
    pub check: &'static str,
}
pub const MUTANTS: &[M] = &[];
