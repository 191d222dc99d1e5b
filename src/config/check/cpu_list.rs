//! Lists of CPUs or memory nodes as cpuset(7) writes them: `0-3,7`.

/// The highest number taken; higher ones are surely mistakes and would cost memory.
const HIGHEST: u32 = 65_535;

/// The numbers of a list, in rising order without repetition. Blanks around elements and empty elements are allowed.
///
/// # Errors
/// A sentence without subject: what is wrong with the list.
pub fn parse(list: &str) -> Result<Vec<u32>, String> {
    let mut numbers = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("holds the backward range {part:?}"));
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    match numbers.is_empty() {
        true => Err(format!("{list:?} names nothing, write a list such as \"0-3,7\"")),
        false => Ok(numbers),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let all_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(n) if all_digits && n <= HIGHEST => Ok(n),
        Ok(_) if all_digits => Err(format!("holds {text}, the highest number is {HIGHEST}")),
        _ => Err(format!(
            "holds {text:?} where a number is due, write a list such as \"0-3,7\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse("0-3,7"), Ok(vec![0, 1, 2, 3, 7]));
        assert_eq!(parse(" 5 ,1-2,2,"), Ok(vec![1, 2, 5]));
        for bad in [
            "",
            ",",
            "3-1",
            "a",
            "1-",
            "-1",
            "+1",
            "1--2",
            "1-2-3",
            "65536",
            "99999999999",
            "0x1",
            "1 2",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
