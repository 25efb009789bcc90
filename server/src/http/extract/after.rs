//! A page of what is numbered.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::ApiError;

const LIMIT: std::ops::RangeInclusive<i64> = 1..=500;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct After {
    /// Only what comes after this number: `next_after` of the page before.
    #[param(minimum = 0, default = 0)]
    pub after: Option<i64>,
    /// How many at most, of a page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub limit: Option<i64>,
}

impl After {
    /// After which number, and how many.
    pub fn checked(self) -> Result<(i64, i64), ApiError> {
        let (after, limit) = (self.after.unwrap_or(0), self.limit.unwrap_or(100));
        if after < 0 || !LIMIT.contains(&limit) {
            return Err(ApiError::malformed("after must not be negative; limit must be from 1 to 500"));
        }
        Ok((after, limit))
    }
}
