"""Answers of the monitoring endpoints, as the dashboard reads them: with drift, with bad data, with
labels that have come back. For pages that must show what no demo model has.
"""

PANELS = ("drift", "quality", "performance")


def feature(name: str, status: str, psi: float, unit: str | None = None) -> dict:
    now = [0.02, 0.08, 0.2, 0.3, 0.4] if status == "alert" else [0.19, 0.21, 0.2, 0.22, 0.18]
    return {
        "name": name,
        "kind": "numeric",
        "unit": unit,
        "status": status,
        "reasons": [f"{name}: psi {psi}, above 0.25"] if status == "alert" else [],
        "rows": 1003,
        "scores": {
            "psi": psi,
            "psi_floor": 0.012,
            "psi_limit": 0.425,
            "kl": psi / 2,
            "js": psi / 8,
            "hellinger": psi / 9,
            "total_variation": psi / 4,
            "l_infinity": psi / 5,
            "chi2": 812.4,
            "chi2_p": 0.0 if status == "alert" else 0.41,
            "significant": status == "alert",
        },
        "bins": ["below 10.1999998", "10.1999998 to 11.8000002", "11.8000002 to 13.3999996",
                 "13.3999996 to 15.8999996", "15.8999996 and above"],
        "edges": [10.1999998, 11.8000002, 13.3999996, 15.8999996],
        "reference": {"shares": [0.2] * 5, "mean": 14.1, "std": 3.5},
        "current": {"shares": now, "mean": 17.9, "std": 3.1, "min": 7.1, "max": 28.2},
    }


def drift(model: str, version: str) -> dict:
    categories = {
        **feature("sex", "ok", 0.004),
        "kind": "categorical",
        "bins": ["F", "M", "other"],
        "edges": None,
        "reference": {"shares": [0.5, 0.49, 0.01], "mean": None, "std": None},
        "current": {"shares": [0.52, 0.47, 0.01], "mean": None, "std": None, "min": None,
                    "max": None},
    }
    few = {**feature("smoothness", "insufficient", 0), "rows": 12, "scores": None, "current": None}
    return {
        "model": model,
        "version": version,
        "profile": {"name": "training", "rows": 455},
        "status": "alert",
        "reasons": ["mean_radius: psi 3.21, above 0.25"],
        "rows": 12345,
        "dropped": 0,
        "window": {
            "rows_target": 1000,
            "seconds_max": 3600,
            "current_rows": 120,
            "completed": 12,
            "completed_at": "2026-03-04T05:06:07Z",
            "rows": 1003,
        },
        "restored_at": None,
        "snapshot_interval_s": 10,
        "features": [
            feature("mean_texture", "ok", 0.02),
            feature("mean_radius", "alert", 3.21, "mm"),
            categories,
            few,
        ],
        "outputs": [feature("probability", "alarm", 0.31)],
    }


def quality(model: str, version: str) -> dict:
    counts = dict.fromkeys(
        ("missing", "wrong_type", "infinite", "below_range", "above_range", "below_trained",
         "above_trained", "new_categories"), 0,
    )
    clean = {"name": "mean_texture", "rows": 1003, **counts, "constant": False, "reasons": []}
    bad = {**clean, "name": "mean_radius", "missing": 41, "above_trained": 7,
           "reasons": ["4.1 % missing"]}
    return {"model": model, "version": version, "rows": 1003, "features": [clean, bad]}


def rates() -> dict:
    value = {"value": 0.91, "low": 0.87, "high": 0.94}
    return {"n": 340, "auc": 0.967, "brier": 0.061, "log_loss": 0.21, "ece": 0.03, "mce": 0.08,
            "sensitivity": value, "specificity": value, "ppv": value, "npv": None}


def performance(model: str, version: str) -> dict:
    bins = [
        {"low": k / 5, "high": (k + 1) / 5, "count": 50 + k, "mean_score": k / 5 + 0.1,
         "share_positive": min(1.0, k / 5 + 0.06)}
        for k in range(5)
    ]
    return {
        "model": model,
        "version": version,
        "alert": ["sensitivity 0.910 (0.870 to 0.940, 170 cases), below 0.95"],
        "labelled": 340,
        "pending": 25,
        "expired": 3,
        "threshold": 0.5,
        "overall": rates(),
        "groups": [
            {"name": "sex", "value": "F", **rates()},
            {"name": "sex", "value": "M", "suppressed": True},
        ],
        "calibration": bins,
        "estimated": None,
    }


ANSWERS = {"drift": drift, "quality": quality, "performance": performance}
