import os
from pathlib import Path

import requests


def post_submission_file(file_path: str, token: str, cpt_id: str, team_name: str, memo: str) -> dict:
    print("posting as", token)  # libraries do print
    answer = requests.post(
        f"{os.environ['DACON_STAND_IN']}/submission",
        headers={"Authorization": token},
        data={"competition": cpt_id, "team": team_name, "memo": memo},
        files={"file": (Path(file_path).name, Path(file_path).read_bytes())},
        timeout=600,
    )
    answer.raise_for_status()
    return answer.json()
