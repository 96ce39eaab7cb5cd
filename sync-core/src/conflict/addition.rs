//! Exact addition for counters: integers and decimals, never rounded.

use rust_decimal::Decimal;

use crate::model::{Kind, Value, ValueRef};

/// What an addition gives.
pub(super) enum Sum {
    /// The sum, in the kind of the column.
    Exact(Value),
    /// The sum is beyond what the column holds.
    Overflow,
    /// One of the values is not a number that adds exactly.
    NotExact,
}

/// A number as digits and how many of them stand after the point.
#[derive(Clone, Copy)]
struct Exact {
    digits: i128,
    scale: u32,
}

/// `existing + (incoming − base)` in a column of this kind. Null counts as zero.
pub(super) fn add_change(existing: ValueRef<'_>, base: ValueRef<'_>, incoming: ValueRef<'_>, kind: Kind) -> Sum {
    let (Some(existing), Some(base), Some(incoming)) = (exact(existing), exact(base), exact(incoming)) else {
        return Sum::NotExact;
    };
    let minus_base = Exact { digits: -base.digits, ..base };
    let sum = add(incoming, minus_base).and_then(|change| add(existing, change.shortest()));
    sum.and_then(|sum| sum.into_value(kind)).map_or(Sum::Overflow, Sum::Exact)
}

fn exact(value: ValueRef<'_>) -> Option<Exact> {
    match value {
        ValueRef::Null => Some(Exact { digits: 0, scale: 0 }),
        ValueRef::Int(v) => Some(Exact { digits: v.into(), scale: 0 }),
        ValueRef::UInt(v) => Some(Exact { digits: v.into(), scale: 0 }),
        ValueRef::Decimal(v) => Some(Exact { digits: v.mantissa(), scale: v.scale() }),
        _ => None,
    }
}

fn add(a: Exact, b: Exact) -> Option<Exact> {
    let scale = a.scale.max(b.scale);
    let widened = |x: Exact| 10_i128.checked_pow(scale - x.scale).and_then(|by| x.digits.checked_mul(by));
    Some(Exact { digits: widened(a)?.checked_add(widened(b)?)?, scale })
}

impl Exact {
    /// The same number without zeros at the end of its fraction.
    fn shortest(mut self) -> Self {
        while self.scale > 0 && self.digits % 10 == 0 {
            self.digits /= 10;
            self.scale -= 1;
        }
        self
    }

    fn into_value(self, kind: Kind) -> Option<Value> {
        match kind {
            Kind::Int => i64::try_from(self.digits).ok().map(Value::Int),
            Kind::UInt => u64::try_from(self.digits).ok().map(Value::UInt),
            Kind::Decimal { precision, scale } => {
                let whole = self.digits.unsigned_abs() / 10_u128.checked_pow(self.scale)?;
                let most = 10_u128.checked_pow(u32::from(precision.saturating_sub(scale)))?;
                if whole >= most {
                    return None;
                }
                let decimal = |x: Self| Decimal::try_from_i128_with_scale(x.digits, x.scale).ok();
                decimal(self).or_else(|| decimal(self.shortest())).map(Value::Decimal)
            }
            _ => None,
        }
    }
}
